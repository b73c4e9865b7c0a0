from likeness import Client, FailedPrecondition

with Client() as client:
    session = client.start_loop(client.create_session("target.png"), rounds=100)
    try:
        print(client.cancel_loop(session).state)
    except FailedPrecondition as error:
        print(error.reason)  # SESSION_NOT_RUNNING: it ended by itself before
