//! The keys of every kind of mapping in a model and the forms of their values.

use super::{Absent, Field, Hold, Shape};

const fn f(key: &'static str, shape: Shape) -> Field {
    Field { key, json: key, shape, absent: Absent::Omitted }
}

const fn null(key: &'static str, shape: Shape) -> Field {
    Field { key, json: key, shape, absent: Absent::Null }
}

const fn zero(key: &'static str, json: &'static str, shape: Shape) -> Field {
    Field { key, json, shape, absent: Absent::Zero }
}

const fn pointer(fields: &'static [Field]) -> Shape {
    Shape::Struct(fields, Hold::Pointer)
}

const fn value(fields: &'static [Field]) -> Shape {
    Shape::Struct(fields, Hold::Value)
}

const ULIMITS: Shape = Shape::MapOf(&Shape::Ulimit);

const FILE_MOUNT: Shape = value(&[
    f("source", Shape::Text),
    f("target", Shape::Text),
    f("uid", Shape::Text),
    f("gid", Shape::Text),
    f("mode", Shape::Mode),
]);

const BUILD: &[Field] = &[
    f("context", Shape::Text),
    f("dockerfile", Shape::Text),
    f("dockerfile_inline", Shape::Text),
    f("entitlements", Shape::Strings),
    f("args", Shape::Environment),
    f("provenance", Shape::Text),
    f("sbom", Shape::Text),
    f("ssh", Shape::Ssh),
    f("labels", Shape::Labels),
    f("cache_from", Shape::Strings),
    f("cache_to", Shape::Strings),
    f("no_cache", Shape::Flag),
    f("additional_contexts", Shape::Pairs),
    f("pull", Shape::Flag),
    f("extra_hosts", Shape::Hosts),
    f("isolation", Shape::Text),
    f("network", Shape::Text),
    f("target", Shape::Text),
    f("secrets", Shape::List(&FILE_MOUNT)),
    f("shm_size", Shape::Bytes),
    f("tags", Shape::Strings),
    f("ulimits", ULIMITS),
    f("platforms", Shape::Strings),
    f("privileged", Shape::Flag),
];

const HOOK: &[Field] = &[
    null("command", Shape::Command),
    f("user", Shape::Text),
    f("privileged", Shape::Flag),
    f("working_dir", Shape::Text),
    f("environment", Shape::Environment),
];

const WATCH: Shape = value(&[
    zero("path", "path", Shape::Text),
    zero("action", "action", Shape::Text),
    f("target", Shape::Text),
    f("exec", value(HOOK)),
    f("include", Shape::Strings),
    f("ignore", Shape::Strings),
    f("initial_sync", Shape::Flag),
]);

const THROTTLE: Shape =
    value(&[zero("path", "Path", Shape::Text), zero("rate", "Rate", Shape::Bytes)]);

const BLKIO: &[Field] = &[
    f("weight", Shape::Unsigned),
    f(
        "weight_device",
        Shape::List(&value(&[
            zero("path", "Path", Shape::Text),
            zero("weight", "Weight", Shape::Unsigned),
        ])),
    ),
    f("device_read_bps", Shape::List(&THROTTLE)),
    f("device_read_iops", Shape::List(&THROTTLE)),
    f("device_write_bps", Shape::List(&THROTTLE)),
    f("device_write_iops", Shape::List(&THROTTLE)),
];

const DEVICE_REQUEST: Shape = value(&[
    f("capabilities", Shape::Strings),
    f("driver", Shape::Text),
    f("count", Shape::DeviceCount),
    f("device_ids", Shape::Strings),
    f("options", Shape::Pairs),
]);

const UPDATE: &[Field] = &[
    f("parallelism", Shape::UnsignedCount),
    f("delay", Shape::Delay),
    f("failure_action", Shape::Text),
    f("monitor", Shape::Delay),
    f("max_failure_ratio", Shape::Float),
    f("order", Shape::Text),
];

const RESOURCE: &[Field] = &[
    f("cpus", Shape::Float),
    f("memory", Shape::Bytes),
    f("pids", Shape::Int),
    f("devices", Shape::List(&DEVICE_REQUEST)),
    f(
        "generic_resources",
        Shape::List(&value(&[f(
            "discrete_resource_spec",
            pointer(&[zero("kind", "kind", Shape::Text), zero("value", "value", Shape::Int)]),
        )])),
    ),
];

const DEPLOY: &[Field] = &[
    f("mode", Shape::Text),
    f("replicas", Shape::Count),
    f("labels", Shape::Labels),
    f("update_config", pointer(UPDATE)),
    f("rollback_config", pointer(UPDATE)),
    f("resources", value(&[f("limits", pointer(RESOURCE)), f("reservations", pointer(RESOURCE))])),
    f(
        "restart_policy",
        pointer(&[
            f("condition", Shape::Text),
            f("delay", Shape::Duration),
            f("max_attempts", Shape::UnsignedCount),
            f("window", Shape::Duration),
        ]),
    ),
    f(
        "placement",
        value(&[
            f("constraints", Shape::Strings),
            f("preferences", Shape::List(&value(&[f("spread", Shape::Text)]))),
            f("max_replicas_per_node", Shape::Unsigned),
        ]),
    ),
    f("endpoint_mode", Shape::Text),
];

const HEALTHCHECK: &[Field] = &[
    f("test", Shape::Test),
    f("timeout", Shape::Duration),
    f("interval", Shape::Duration),
    f("retries", Shape::UnsignedCount),
    f("start_period", Shape::Duration),
    f("start_interval", Shape::Duration),
    f("disable", Shape::Flag),
];

const SERVICE_NETWORK: &[Field] = &[
    f("aliases", Shape::Strings),
    f("driver_opts", Shape::Pairs),
    f("gw_priority", Shape::Int),
    f("interface_name", Shape::Text),
    f("ipv4_address", Shape::Text),
    f("ipv6_address", Shape::Text),
    f("link_local_ips", Shape::Strings),
    f("mac_address", Shape::Text),
    f("priority", Shape::Int),
];

const PORT: Shape = value(&[
    f("name", Shape::Text),
    f("mode", Shape::Text),
    f("host_ip", Shape::Text),
    f("target", Shape::Unsigned),
    f("published", Shape::Text),
    f("protocol", Shape::Text),
    f("app_protocol", Shape::Text),
]);

const MOUNT: Shape = value(&[
    f("type", Shape::Text),
    f("source", Shape::Text),
    f("target", Shape::Text),
    f("read_only", Shape::Flag),
    f("consistency", Shape::Text),
    f(
        "bind",
        pointer(&[
            f("selinux", Shape::Text),
            f("propagation", Shape::Text),
            f("create_host_path", Shape::Flag),
            f("recursive", Shape::Text),
        ]),
    ),
    f(
        "volume",
        pointer(&[f("labels", Shape::Pairs), f("nocopy", Shape::Flag), f("subpath", Shape::Text)]),
    ),
    f("tmpfs", pointer(&[f("size", Shape::Bytes), f("mode", Shape::Unsigned)])),
    f("image", pointer(&[f("subpath", Shape::Text)])),
]);

/// A service.
pub(in crate::config::compose) const SERVICE: Shape = pointer(&[
    f("profiles", Shape::Strings),
    f("annotations", Shape::Pairs),
    f("attach", Shape::Choice),
    f("build", pointer(BUILD)),
    f("develop", pointer(&[f("watch", Shape::List(&WATCH))])),
    f("blkio_config", pointer(BLKIO)),
    f("cap_add", Shape::Strings),
    f("cap_drop", Shape::Strings),
    f("cgroup_parent", Shape::Text),
    f("cgroup", Shape::Text),
    f("cpu_count", Shape::Int),
    f("cpu_percent", Shape::Float),
    f("cpu_period", Shape::Int),
    f("cpu_quota", Shape::Int),
    f("cpu_rt_period", Shape::Int),
    f("cpu_rt_runtime", Shape::Int),
    f("cpus", Shape::Float),
    f("cpuset", Shape::Text),
    f("cpu_shares", Shape::Int),
    null("command", Shape::Command),
    f("configs", Shape::List(&FILE_MOUNT)),
    f("container_name", Shape::Text),
    f(
        "credential_spec",
        pointer(&[f("config", Shape::Text), f("file", Shape::Text), f("registry", Shape::Text)]),
    ),
    f(
        "depends_on",
        Shape::MapOf(&value(&[
            f("condition", Shape::Text),
            f("restart", Shape::Flag),
            zero("required", "required", Shape::Flag),
        ])),
    ),
    f("deploy", pointer(DEPLOY)),
    f("device_cgroup_rules", Shape::Strings),
    f(
        "devices",
        Shape::List(&value(&[
            f("source", Shape::Text),
            f("target", Shape::Text),
            f("permissions", Shape::Text),
        ])),
    ),
    f("dns", Shape::Strings),
    f("dns_opt", Shape::Strings),
    f("dns_search", Shape::Strings),
    f("dockerfile", Shape::Text),
    f("domainname", Shape::Text),
    null("entrypoint", Shape::Command),
    f("provider", pointer(&[f("type", Shape::Text), f("options", Shape::MultiOptions)])),
    f("environment", Shape::Environment),
    f("env_file", Shape::EnvFiles),
    f("expose", Shape::Strings),
    f("extends", pointer(&[f("file", Shape::Text), f("service", Shape::Text)])),
    f("external_links", Shape::Strings),
    f("extra_hosts", Shape::Hosts),
    f("group_add", Shape::Strings),
    f("gpus", Shape::List(&DEVICE_REQUEST)),
    f("hostname", Shape::Text),
    f("healthcheck", pointer(HEALTHCHECK)),
    f("image", Shape::Text),
    f("init", Shape::Choice),
    f("ipc", Shape::Text),
    f("isolation", Shape::Text),
    f("labels", Shape::Labels),
    f("label_file", Shape::Strings),
    f("links", Shape::Strings),
    f("logging", pointer(&[f("driver", Shape::Text), f("options", Shape::Pairs)])),
    f("log_driver", Shape::Text),
    f("log_opt", Shape::Pairs),
    f("mem_limit", Shape::Bytes),
    f("mem_reservation", Shape::Bytes),
    f("memswap_limit", Shape::Bytes),
    f("mem_swappiness", Shape::Bytes),
    f("mac_address", Shape::Text),
    f(
        "models",
        Shape::MapOf(&pointer(&[f("endpoint_var", Shape::Text), f("model_var", Shape::Text)])),
    ),
    f("net", Shape::Text),
    f("network_mode", Shape::Text),
    f("networks", Shape::MapOf(&pointer(SERVICE_NETWORK))),
    f("oom_kill_disable", Shape::Flag),
    f("oom_score_adj", Shape::Int),
    f("pid", Shape::Text),
    f("pids_limit", Shape::Int),
    f("platform", Shape::Text),
    f("ports", Shape::List(&PORT)),
    f("privileged", Shape::Flag),
    f("pull_policy", Shape::Text),
    f("read_only", Shape::Flag),
    f("restart", Shape::Text),
    f("runtime", Shape::Text),
    f("scale", Shape::Count),
    f("secrets", Shape::List(&FILE_MOUNT)),
    f("security_opt", Shape::Strings),
    f("shm_size", Shape::Bytes),
    f("stdin_open", Shape::Flag),
    f("stop_grace_period", Shape::Duration),
    f("stop_signal", Shape::Text),
    f("storage_opt", Shape::Pairs),
    f("sysctls", Shape::Pairs),
    f("tmpfs", Shape::Strings),
    f("tty", Shape::Flag),
    f("ulimits", ULIMITS),
    f("use_api_socket", Shape::Flag),
    f("user", Shape::Text),
    f("userns_mode", Shape::Text),
    f("uts", Shape::Text),
    f("volume_driver", Shape::Text),
    f("volumes", Shape::List(&MOUNT)),
    f("volumes_from", Shape::Strings),
    f("working_dir", Shape::Text),
    f("post_start", Shape::List(&value(HOOK))),
    f("pre_stop", Shape::List(&value(HOOK))),
]);

/// A network.
pub(in crate::config::compose) const NETWORK: Shape = value(&[
    f("name", Shape::Text),
    f("driver", Shape::Text),
    f("driver_opts", Shape::Pairs),
    f(
        "ipam",
        value(&[
            f("driver", Shape::Text),
            f(
                "config",
                Shape::List(&pointer(&[
                    f("subnet", Shape::Text),
                    f("gateway", Shape::Text),
                    f("ip_range", Shape::Text),
                    f("aux_addresses", Shape::Pairs),
                ])),
            ),
        ]),
    ),
    f("external", Shape::Flag),
    f("internal", Shape::Flag),
    f("attachable", Shape::Flag),
    f("labels", Shape::Labels),
    f("enable_ipv4", Shape::Choice),
    f("enable_ipv6", Shape::Choice),
]);

/// A volume.
pub(in crate::config::compose) const VOLUME: Shape = value(&[
    f("name", Shape::Text),
    f("driver", Shape::Text),
    f("driver_opts", Shape::Pairs),
    f("external", Shape::Flag),
    f("labels", Shape::Labels),
]);

/// A config.
pub(in crate::config::compose) const CONFIG: Shape = value(&[
    f("name", Shape::Text),
    f("file", Shape::Text),
    f("environment", Shape::Text),
    f("content", Shape::Text),
    f("external", Shape::Flag),
    f("labels", Shape::Labels),
    f("driver", Shape::Text),
    f("driver_opts", Shape::Pairs),
    f("template_driver", Shape::Text),
]);

/// A secret, whose content is never printed.
pub(in crate::config::compose) const SECRET: Shape = value(&[
    f("name", Shape::Text),
    f("file", Shape::Text),
    f("environment", Shape::Text),
    f("external", Shape::Flag),
    f("labels", Shape::Labels),
    f("driver", Shape::Text),
    f("driver_opts", Shape::Pairs),
    f("template_driver", Shape::Text),
]);

/// An AI model.
pub(in crate::config::compose) const MODEL: Shape = value(&[
    f("name", Shape::Text),
    f("model", Shape::Text),
    f("context_size", Shape::Int),
    f("runtime_flags", Shape::Strings),
]);
