from likeness import Client

with Client() as client:
    session = client.create_session("target.png")
    client.start_loop(session, rounds=2, candidates=2)
    for event in client.watch(session, until_idle=True):
        print(event.sequence, type(event.body).__name__)
