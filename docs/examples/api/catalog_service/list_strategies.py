from likeness import Client

with Client() as client:
    for strategy in client.strategies():
        print(strategy.id, strategy.description)
