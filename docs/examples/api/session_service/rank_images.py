from likeness import Client

with Client() as client:
    session = client.create_session("target.png")
    list(client.submit_prompt(session, "a red car on a meadow", image_count=2))
    ranking = client.rank_images(session, ["r1c2", "r1c1"])
    print(ranking.candidate_ids)
