from likeness import Client

with Client() as client:
    for picture in client.generate("a red car on a meadow", count=2, seed=1):
        print(picture.seed, picture.record.model, len(picture.png))
