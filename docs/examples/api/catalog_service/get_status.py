from likeness import Client

with Client() as client:
    status = client.status()
    print(status.health, status.version)
    for part in status.components:
        print(part.component, part.health, part.detail)
