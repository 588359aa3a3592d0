"""Generated projects of a wanted number of resources, and the same graph for Terraform.

A host carries a directory, an env file, a Compose file, two networks, four volumes, and services.
A tenth of the hosts has the role `db`, a tenth `gateway`, the others `app`; every host of a role
runs all services of the role. Services depend on others of their host, and across hosts on those
of the role before.
"""

import json
import pathlib
import uuid

NETWORKS = ("front", "back")
VOLUMES = ("data-0", "data-1", "data-2", "data-3")
BESIDE_SERVICES = 3 + len(NETWORKS) + len(VOLUMES)
PER_CHAIN = 10
BEFORE = {"app": "db", "gateway": "app"}


class Project:
    """`hosts` machines with `per_host` resources each."""

    def __init__(self, hosts, per_host):
        self.roles = {"db": [], "app": [], "gateway": []}
        for index in range(hosts):
            role = {0: "db", 9: "gateway"}.get(index % 10, "app")
            self.roles[role].append(f"{role}-{index}")
        self.services = per_host - BESIDE_SERVICES
        self.resources = hosts * per_host

    def dependencies(self, role, index):
        """The services that a service waits for: the one before in its chain, one of a role before."""
        found = [f"{role}{index - 1}"] if index % PER_CHAIN else []
        if role in BEFORE and index % PER_CHAIN == 0:
            found.append(f"{BEFORE[role]}{index}")
        return found

    def volume(self, index):
        """The volume that a service mounts, if any."""
        return VOLUMES[index] if index < len(VOLUMES) else None

    def service(self, role, index, tag):
        """A service of the Compose file."""
        service = {
            "image": f"registry.example/bench/{role}{index}:{tag}",
            "restart": "unless-stopped",
            "environment": {
                "LOG_LEVEL": "info",
                "NAME": f"{role}{index}",
                "PASSWORD": "${DB_PASSWORD}",
            },
            # Reached from other hosts at a port of its own: services of one host can't share one.
            "expose": [str(8080 + index)],
            "networks": list(NETWORKS),
            "healthcheck": {"test": ["CMD", "/check"], "interval": "2s", "retries": 5},
            "labels": {"bench.role": role},
        }
        needed = self.dependencies(role, index)
        if needed:
            service["depends_on"] = {name: {"condition": "service_healthy"} for name in needed}
        if self.volume(index):
            service["volumes"] = [f"{self.volume(index)}:/data"]
        return service

    def write(self, folder, tag="v1", changed_tag=None):
        """Writes the project's files. With `changed_tag` one service in ten has that tag."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        services, placed = {}, {}
        for role in self.roles:
            for index in range(self.services):
                own = changed_tag if changed_tag and index % 10 == 5 else tag
                services[f"{role}{index}"] = self.service(role, index, own)
                placed[f"{role}{index}"] = {"role": role}
        compose = {
            "name": "bench",
            "services": services,
            "networks": {name: {} for name in NETWORKS},
            "volumes": {name: {} for name in VOLUMES},
        }
        numbers = {name: n for n, name in enumerate(sum(self.roles.values(), []))}
        stagecraft = {
            "project": {"name": "bench"},
            "hosts": {
                role: [
                    {"name": name, "address": f"10.0.{numbers[name] // 250}.{numbers[name] % 250}"}
                    for name in names
                ]
                for role, names in self.roles.items()
            },
            "services": placed,
            "environments": {
                "bench": {
                    "world": "simulated",
                    "env_file": "/etc/bench/env",
                    "secrets": {"file": "secrets.env"},
                }
            },
        }
        (folder / "docker-compose.yml").write_text(yaml(compose))
        (folder / "stagecraft.yml").write_text(yaml(stagecraft))
        (folder / "secrets.env").write_text("DB_PASSWORD=generated\n")

    def graph(self):
        """Every resource with those that it waits for, as Terraform may name them."""
        graph = {}
        for role, hosts in self.roles.items():
            for host in hosts:
                ground = f"host_{host}"
                graph[ground] = []
                objects = ["env", "file", *NETWORKS, *VOLUMES]
                graph.update({f"{name}_{host}": [ground] for name in objects})
                for index in range(self.services):
                    after = [f"{name}_{host}" for name in ("env", "file", *NETWORKS)]
                    if self.volume(index):
                        after.append(f"{self.volume(index)}_{host}")
                    for name in self.dependencies(role, index):
                        of = name.rstrip("0123456789")
                        on = [host] if of == role else self.roles[of]
                        after += [f"{name}_{other}" for other in on]
                    graph[f"{role}{index}_{host}"] = after
        return graph

    def write_terraform(self, folder, version):
        """Writes the graph as `terraform_data` resources that are all in place already."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text, state = [], []
        for name, after in self.graph().items():
            after = [f"terraform_data.{other}" for other in after]
            text.append(
                f'resource "terraform_data" "{name}" {{\n'
                f'  input      = "{name}"\n  depends_on = [{", ".join(after)}]\n}}\n'
            )
            value = {"value": name, "type": "string"}
            attributes = {
                "id": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
                "input": value,
                "output": value,
                "triggers_replace": None,
            }
            instance = {"schema_version": 0, "attributes": attributes, "sensitive_attributes": []}
            state.append({
                "mode": "managed",
                "type": "terraform_data",
                "name": name,
                "provider": 'provider["terraform.io/builtin/terraform"]',
                "instances": [{**instance, "dependencies": after}],
            })
        (folder / "main.tf").write_text("\n".join(text))
        document = {
            "version": 4,
            "terraform_version": version,
            "serial": 1,
            "lineage": str(uuid.uuid5(uuid.NAMESPACE_DNS, "bench")),
            "outputs": {},
            "resources": state,
        }
        (folder / "terraform.tfstate").write_text(json.dumps(document))


def yaml(value, depth=0):
    """Block-style YAML of mappings, lists and strings."""
    pad = "  " * depth
    if isinstance(value, dict) and value:
        lines = []
        for key, inner in value.items():
            nested = isinstance(inner, dict) and inner
            text = "\n" + yaml(inner, depth + 1) if nested else " " + json.dumps(inner) + "\n"
            lines.append(f"{pad}{key}:{text}")
        return "".join(lines)
    return f"{pad}{json.dumps(value)}\n"
