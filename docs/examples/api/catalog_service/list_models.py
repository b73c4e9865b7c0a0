from likeness import Client

with Client() as client:
    for model in client.models().models:
        print(model.id, model.role, model.load_state, model.load_problem)
