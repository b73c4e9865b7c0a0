from likeness import Client

with Client() as client:
    session = client.start_loop(client.create_session("target.png"), rounds=100)
    client.pause_loop(session, at_once=True)
    client.submit_feedback(session, "the car should be darker")
    print(client.resume_loop(session).state)
    client.cancel_loop(session)
