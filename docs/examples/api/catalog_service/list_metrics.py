from likeness import Client

with Client() as client:
    for metric in client.metrics():
        print(metric.id, "by default" if metric.computed_by_default else "on request", metric.description)
    for absent in client.absent_metrics():
        print(absent.id, "is absent:", absent.reason)
