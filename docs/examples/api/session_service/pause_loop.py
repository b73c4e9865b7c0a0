from likeness import Client, FailedPrecondition

with Client() as client:
    session = client.start_loop(client.create_session("target.png"), rounds=100)
    try:
        print(client.pause_loop(session).state)
        list(client.submit_prompt(session, "a red car on a meadow"))
        client.resume_loop(session)
    except FailedPrecondition as error:
        print(error.reason)  # SESSION_NOT_RUNNING: it ended by itself before
    client.cancel_loop(session)
