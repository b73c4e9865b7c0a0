from likeness import Client

with Client() as client:
    session = client.create_session("target.png")
    client.start_loop(session, rounds=1, candidates=1)
    cursor = ""
    for event in client.watch(session):
        cursor = event.cursor
        break  # Another process may go on here, on any gateway of the deployment.
    for event in client.watch(session, after_cursor=cursor, until_idle=True):
        print(event.sequence, type(event.body).__name__)
