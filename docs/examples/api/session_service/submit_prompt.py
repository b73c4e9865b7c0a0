from likeness import CandidateScored, Client

with Client() as client:
    session = client.create_session("target.png")
    for event in client.submit_prompt(session, "a red car on a meadow", image_count=2):
        if isinstance(event.body, CandidateScored):
            print(event.body.candidate.id, event.body.candidate.loop_score)
