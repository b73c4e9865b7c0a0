from likeness import Client

with Client() as client:
    session = client.create_session("target.png", display_name="a car", seed=1)
    print(session.name, session.state, session.settings.metrics)
