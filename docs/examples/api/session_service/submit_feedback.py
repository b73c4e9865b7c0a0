from likeness import Client

with Client() as client:
    session = client.create_session("target.png")
    list(client.submit_prompt(session, "a red car on a meadow"))
    revised = client.submit_feedback(session, "the car should be darker")
    print(revised.text)
