from likeness import Client

with Client() as client:
    session = client.create_session("target.png")
    details = client.get_session(session.name)
    print(details.session.state, len(details.rounds), "rounds")
