"""The messages of wattle.proto and agent.proto, straight from the files: protoc's description of them,
no generated code."""

import pathlib
import subprocess
import tempfile

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load() -> dict:
    """Every message of the package by its name ("Launch", "Launch.Host")."""
    with tempfile.NamedTemporaryFile(suffix=".pb") as file:
        subprocess.run(["protoc", "-I", str(ROOT), f"--descriptor_set_out={file.name}",
                        "scheduler/rpc/wattle.proto", "scheduler/rpc/agent.proto"], check=True)
        files = descriptor_pb2.FileDescriptorSet.FromString(pathlib.Path(file.name).read_bytes())
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.Add(file)
    factory = message_factory.MessageFactory(pool)
    found = {}

    def add(descriptor, name):
        found[name] = factory.GetPrototype(descriptor)
        for nested in descriptor.nested_types:
            add(nested, f"{name}.{nested.name}")

    for file in files.file:
        for message in file.message_type:
            add(pool.FindMessageTypeByName(f"{file.package}.{message.name}"), message.name)
    return found


MESSAGES = load()
