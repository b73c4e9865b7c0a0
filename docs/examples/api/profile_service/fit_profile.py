from likeness import Client

with Client() as client:
    client.create_profile("anna")
    profile = client.fit_profile("anna", rankings=[("target.png", ["best.png", "other.png"])])
    print(profile.active.number, profile.active.report.explanation)
