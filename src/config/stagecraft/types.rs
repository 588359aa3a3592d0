//! The keys of `stagecraft.yml`. The comments here are what the JSON Schema tells an editor.

use std::time::Duration;

use crate::model::{OnFailure, RolloutOrder, Transport};

use super::choices::choice;
use super::decode::{Decode, Problems, record};
use super::environment::EnvironmentSettings;
use super::kinds::*;
use super::schema::Definitions;
use super::texts::*;
use crate::config::yaml::{Entry, Map, Node, Value};

record! {
    /// A project: what it is called, its parts, its hosts and its environments.
    pub struct File {
        /// What the project is called and where its images live.
        project: Project => required,
        /// The Compose file, or several, merged in this order. Paths are relative to this file.
        compose: OneOrMore<Spanned<FilePath>> = OneOrMore(vec![Spanned::nowhere("docker-compose.yml".into())]),
        /// The services that a backend tool builds and, during development, replaces.
        backend: Option<Backend>,
        /// The services that a frontend tool builds and, during development, replaces.
        frontend: Option<Frontend>,
        /// The private network that connects the hosts.
        network: Network,
        /// Where hosts are made.
        cloud: Option<Cloud>,
        /// How hosts are made ready for Docker. Missing: only hosts that the cloud makes are.
        bootstrap: Option<Bootstrap>,
        /// The service that runs Stagecraft on pushes.
        ci: Option<Ci>,
        /// Where releases, the lock and the journal are kept.
        state: Option<StateSettings>,
        /// The file on this machine that holds secret values.
        secrets: Option<Secrets>,
        /// The docker-rollout plugin, for services whose rollout is left to it.
        docker_rollout: Option<DockerRollout>,
        /// The hosts of each role. A host may have several roles.
        hosts: Table<Name, OneOrMore<Listed>>,
        /// The role of each Compose service, and how the service rolls out.
        services: Table<Name, ServiceSettings>,
        /// The environments. `dev` is this machine and inherits no hosts.
        environments: Table<Label, EnvironmentSettings>,
    }
}

record! {
    /// What the project is called and where its images live.
    pub struct Project {
        /// The project's name: a part of names and paths on every host.
        name: Spanned<Label> => required,
        /// The registry and path of the project's images: `<registry>/<service>:<version>`.
        registry: Option<Registry>,
    }
}

choice! {
    /// A backend tool.
    pub enum BackendProvider {
        /// Encore.ts: `encore run` during development, `encore build docker` for images.
        EncoreTs = "encore-ts",
        /// Any command during development, `docker build` for images.
        Generic = "generic",
    }
}

record! {
    /// The services that a backend tool builds and, during development, replaces.
    pub struct Backend {
        /// The tool.
        provider: Spanned<BackendProvider> => required,
        /// The Compose services that it builds and, during development, replaces.
        services: Vec<Spanned<Name>>,
        /// The folder that it works in, relative to this file.
        workdir: FilePath = ".".into(),
        /// How it runs during development.
        dev: BackendDev,
    }
}

record! {
    /// How the backend runs during development.
    #[derive(Default)]
    pub struct BackendDev {
        /// The command, for the `generic` provider.
        command: Option<Command>,
        /// A file of variables for it, relative to this file.
        env_file: Option<FilePath>,
        /// The address that it listens on: `HOST:PORT`.
        listen: Option<Text>,
        /// Whether Encore's telemetry is turned off.
        disable_telemetry: bool,
        /// A certificate authority that Node trusts besides its own, relative to this file.
        node_extra_ca_certs: Option<FilePath>,
        /// The Encore secrets that are set before it starts.
        encore_secrets: Option<EncoreSecrets>,
    }
}

choice! {
    /// A type of Encore environment that a secret is set for.
    pub enum EncoreSecretType {
        /// Production.
        Prod = "prod",
        /// Development.
        Dev = "dev",
        /// Preview environments.
        Pr = "pr",
        /// Preview environments, by their other name.
        Preview = "preview",
        /// This machine.
        Local = "local",
    }
}

record! {
    /// The Encore secrets that are set before the backend starts.
    pub struct EncoreSecrets {
        /// The types of environment that they are set for.
        types: NonEmpty<EncoreSecretType> => required,
        /// The variables whose values become secrets of the same name.
        from_env: NonEmpty<Variable> => required,
    }
}

choice! {
    /// A frontend tool.
    pub enum FrontendProvider {
        /// Vite's development server.
        Vite = "vite",
        /// Any command.
        GenericDevCommand = "generic-dev-command",
    }
}

record! {
    /// The services that a frontend tool builds and, during development, replaces.
    pub struct Frontend {
        /// The tool.
        provider: Spanned<FrontendProvider> => required,
        /// The Compose services that it builds and, during development, replaces.
        services: Vec<Spanned<Name>>,
        /// How it runs during development.
        dev: FrontendDev,
    }
}

record! {
    /// How the frontend runs during development.
    #[derive(Default)]
    pub struct FrontendDev {
        /// The folder that it works in, relative to this file.
        workdir: Option<FilePath>,
        /// The command.
        command: Option<Command>,
        /// A file of variables for it, relative to this file.
        env_file: Option<FilePath>,
    }
}

choice! {
    /// A private network.
    pub enum NetworkProvider {
        /// Tailscale.
        Tailscale = "tailscale",
        /// Headscale: Tailscale's clients with a control server of one's own.
        Headscale = "headscale",
        /// None: the hosts see each other anyway.
        None = "none",
    }
}

record! {
    /// The private network that connects the hosts.
    pub struct Network {
        /// The network.
        provider: NetworkProvider = NetworkProvider::None,
        /// Options for Tailscale.
        tailscale: Option<Tailscale>,
        /// Options for Headscale.
        headscale: Option<Headscale>,
    }
}

impl Default for Network {
    fn default() -> Self {
        Self { provider: NetworkProvider::None, tailscale: None, headscale: None }
    }
}

record! {
    /// Options for Tailscale.
    pub struct Tailscale {
        /// The variable that holds the auth key, or an OAuth client's secret.
        auth_key_env: Variable = "TS_AUTHKEY".into(),
        /// The tailnet's domain: a host's mesh name is `<host>.<tailnet_domain>`.
        tailnet_domain: Option<Domain>,
        /// Tags that hosts have besides the one by which they are known as the environment's.
        tags: Vec<Spanned<MeshTag>>,
        /// Whether hosts answer Tailscale SSH. Missing: yes.
        ssh: Option<bool>,
    }
}

record! {
    /// Options for Headscale.
    pub struct Headscale {
        /// The address of the control server.
        login_server: Url => required,
        /// The variable that holds the pre-auth key.
        auth_key_env: Variable = "HEADSCALE_AUTHKEY".into(),
        /// The variable that holds the key of Headscale's API.
        api_key_env: Variable = "HEADSCALE_API_KEY".into(),
        /// The user that the hosts belong to.
        user: Option<User>,
        /// The base domain: a host's mesh name is `<host>.<tailnet_domain>`.
        tailnet_domain: Option<Domain>,
        /// Tags that hosts have besides the one by which they are known as the environment's.
        tags: Vec<Spanned<MeshTag>>,
    }
}

choice! {
    /// Where packages of Docker come from.
    pub enum DockerSource {
        /// Docker's own repository.
        Docker = "docker",
        /// The distribution: Debian from 13, Ubuntu from 22.04.
        Distribution = "distribution",
        /// Nowhere: Docker is there already, or comes from elsewhere.
        None = "none",
    }
}

record! {
    /// How hosts are made ready for Docker.
    pub struct Bootstrap {
        /// Where Docker Engine and the Compose plugin come from.
        docker: DockerSource = DockerSource::Docker,
        /// Whether hosts install security updates by themselves.
        unattended_upgrades: bool = true,
    }
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { docker: DockerSource::Docker, unattended_upgrades: true }
    }
}

choice! {
    /// A cloud.
    pub enum CloudProvider {
        /// DigitalOcean.
        DigitalOcean = "digitalocean",
    }
}

record! {
    /// Where hosts are made.
    pub struct Cloud {
        /// The cloud.
        provider: CloudProvider => required,
        /// Options for DigitalOcean.
        digitalocean: DigitalOcean,
    }
}

record! {
    /// Options for DigitalOcean.
    pub struct DigitalOcean {
        /// The variable that holds the API token.
        token_env: Variable = "DIGITALOCEAN_ACCESS_TOKEN".into(),
        /// The region's slug. A host may name its own.
        region: Option<Name>,
        /// The size's slug. A host may name its own.
        size: Option<Name>,
        /// The image's slug. A host may name its own.
        image: Option<Name>,
        /// The SSH keys that new machines let in: fingerprints or ids of keys in the account.
        ssh_keys: Vec<Spanned<Text>>,
        /// The ranges of addresses from which SSH is let in. Missing: from everywhere.
        ssh_from: Vec<Spanned<Cidr>>,
        /// The zones in which the environments' domains get their records. One that the account lacks is made. Missing: names are kept elsewhere.
        dns: Vec<Spanned<Domain>>,
        /// For how many seconds names may be remembered.
        dns_ttl: Ttl = Ttl(300),
        /// How many nodes the load balancer before the gateways has. Missing, or 0: there is none.
        load_balancer: Option<Nodes>,
        /// The name of the project that lists what an environment has. Missing: the account's default one.
        project: Option<Text>,
        /// Whether new machines report their load to the cloud.
        monitoring: bool,
        /// Whether the cloud backs machines up.
        backups: bool,
    }
}

impl Default for DigitalOcean {
    fn default() -> Self {
        Self {
            token_env: "DIGITALOCEAN_ACCESS_TOKEN".into(),
            region: None,
            size: None,
            image: None,
            ssh_keys: Vec::new(),
            ssh_from: Vec::new(),
            dns: Vec::new(),
            dns_ttl: Ttl(300),
            load_balancer: None,
            project: None,
            monitoring: false,
            backups: false,
        }
    }
}

record! {
    /// Options of an environment's cloud: they go before the options at the top.
    pub struct CloudOverride {
        /// The region's slug.
        region: Option<Name>,
        /// The size's slug.
        size: Option<Name>,
        /// The image's slug.
        image: Option<Name>,
        /// How many nodes the load balancer before the gateways has; with 0 there is none.
        load_balancer: Option<Nodes>,
        /// The name of the project that lists what the environment has.
        project: Option<Text>,
    }
}

choice! {
    /// A service that runs Stagecraft on pushes.
    pub enum CiProvider {
        /// GitHub Actions.
        GithubActions = "github-actions",
    }
}

record! {
    /// The service that runs Stagecraft on pushes.
    pub struct Ci {
        /// The service.
        provider: CiProvider => required,
    }
}

record! {
    /// When CI deploys an environment.
    pub struct EnvironmentCi {
        /// The branch whose pushes deploy it.
        branch: Option<Text>,
    }
}

choice! {
    /// Where releases, the lock and the journal are kept.
    pub enum Store {
        /// In a folder on this machine.
        Local = "local",
        /// On the environment's hosts.
        Host = "host",
        /// In a bucket.
        S3 = "s3",
    }
}

record! {
    /// Where releases, the lock and the journal are kept.
    pub struct StateSettings {
        /// The sort of store. Missing: `host` where the environment has remote hosts, else `local`.
        store: Option<Spanned<Store>>,
        /// The folder of a `local` store, relative to this file.
        path: FilePath = ".stagecraft/state".into(),
        /// The bucket of an `s3` store.
        s3: Option<S3>,
    }
}

record! {
    /// The bucket of an `s3` store.
    pub struct S3 {
        /// The bucket's name.
        bucket: Name => required,
        /// What the keys of all objects begin with.
        prefix: Option<FilePath>,
        /// The region.
        region: Option<Name>,
        /// The address of a service other than Amazon's.
        endpoint: Option<Url>,
        /// The variable that holds the access key's id.
        access_key_id_env: Variable = "AWS_ACCESS_KEY_ID".into(),
        /// The variable that holds the secret access key.
        secret_access_key_env: Variable = "AWS_SECRET_ACCESS_KEY".into(),
    }
}

record! {
    /// The file on this machine that holds secret values.
    pub struct Secrets {
        /// A file of `NAME=value` lines, relative to this file. It must exist. Missing:
        /// `.stagecraft/secrets/<environment>.env`, where that exists.
        file: Spanned<FilePath> => required,
    }
}

record! {
    /// The docker-rollout plugin.
    pub struct DockerRollout {
        /// The plugin's script, relative to this file.
        file: FilePath => required,
        /// The SHA-256 of the script, in hexadecimal. Missing: that of one of the plugin's releases.
        sha256: Option<Text>,
    }
}

record! {
    /// A host, and how it is reached.
    pub struct HostSettings {
        /// Its name, in addresses and on the mesh.
        name: Spanned<Name> => required,
        /// Where `ssh` connects. Missing: the mesh name, where the network has a domain, else what the cloud says, where there is one, else the name.
        address: Option<Spanned<HostAddress>>,
        /// The log-in user. Missing: `ssh` decides.
        user: Option<Spanned<User>>,
        /// The SSH port. Missing: `ssh` decides.
        port: Option<Spanned<Port>>,
        /// How commands reach it: by `ssh`, or `local` for this machine. Missing: `ssh`.
        transport: Option<Spanned<Transport>>,
        /// The private key for `ssh -i`.
        identity_file: Option<Spanned<FilePath>>,
        /// The cloud region's slug, in place of the cloud's.
        region: Option<Spanned<Name>>,
        /// The cloud size's slug, in place of the cloud's.
        size: Option<Spanned<Name>>,
        /// The cloud image's slug, in place of the cloud's.
        image: Option<Spanned<Name>>,
        /// Block-storage volumes that are attached to it.
        volumes: Option<Vec<CloudVolume>>,
        /// Whether it has a public address that stays when its machine is another one.
        reserved_ip: Option<Spanned<bool>>,
        /// Whether Stagecraft refuses to destroy it.
        protect: Option<Spanned<bool>>,
    }
}

record! {
    /// A block-storage volume.
    pub struct CloudVolume {
        /// Its name.
        name: Spanned<Name> => required,
        /// Its size in GiB.
        size: Gibibytes => required,
        /// The folder in which the host has it. Missing: it is attached, and nothing more.
        mount: Option<Spanned<MountPoint>>,
    }
}

/// A host in a role's list: its name alone, or a mapping.
#[derive(Debug, Clone)]
pub struct Listed(pub HostSettings);

impl Decode for Listed {
    fn decode(node: &Node, problems: &mut Problems) -> Option<Self> {
        if node.as_map().is_some() {
            return HostSettings::decode(node, problems).map(Self);
        }
        if node.as_str().is_none() {
            problems.expected("a host's name (a string) or a mapping", node);
            return None;
        }
        let name = Entry { key: node.span.clone(), value: node.clone() };
        let map = Map::from_iter([("name".to_owned(), name)]);
        HostSettings::decode(&Node::new(Value::Map(map), &node.span), problems).map(Self)
    }
    fn schema(definitions: &mut Definitions) -> serde_json::Value {
        let (name, host) = (Name::schema(definitions), HostSettings::schema(definitions));
        serde_json::json!({ "anyOf": [name, host] })
    }
}

record! {
    /// The role of a Compose service, and how it rolls out.
    pub struct ServiceSettings {
        /// The role whose hosts run it.
        role: Option<Spanned<Name>>,
        /// How it rolls out, in place of the environment's and the built-in settings.
        rollout: RolloutSettings,
        /// A command that runs once per release, in the new image, before the service rolls: words, or a line for the shell.
        release_command: Option<Command>,
    }
}

choice! {
    /// Who replaces the containers.
    pub enum Driver {
        /// Stagecraft.
        Native = "native",
        /// The docker-rollout plugin on the host.
        DockerRollout = "docker-rollout",
    }
}

record! {
    /// How containers are replaced. A service's settings go before its environment's.
    #[derive(Default)]
    pub struct RolloutSettings {
        /// New beside old, or old before new. Missing: `start-first` where the service can run twice, else `stop-first`.
        order: Option<Spanned<RolloutOrder>>,
        /// How long a new container may take to become healthy. Missing: what its healthcheck allows.
        health_timeout: Option<Duration>,
        /// How many hosts roll at once. Missing: 1.
        max_parallel: Option<Count>,
        /// How many replicas on a host roll at once. Missing: all.
        batch: Option<Count>,
        /// How long a new container is watched after it became healthy; an exit in that time is a failure. Missing: `0s`.
        monitor: Option<Duration>,
        /// How long requests to a container that is out of the routes may take to end. Missing: `5s`.
        drain: Option<Duration>,
        /// A command that runs in each container that goes, once it is drained and before it is stopped: words, or a line for the shell.
        drain_hook: Option<Command>,
        /// What happens when it fails. Missing: `rollback`.
        on_failure: Option<OnFailure>,
        /// How many replicas roll first, before a confirmation is asked for. Missing: none.
        canary: Option<Count>,
        /// Who replaces the containers. Missing: `native`.
        driver: Option<Driver>,
    }
}

choice! {
    /// What an environment's hosts are.
    pub enum World {
        /// Machines.
        Hosts = "hosts",
        /// A simulation in one file: hosts, containers, mesh and cloud.
        Simulated = "simulated",
    }
}

choice! {
    /// Where Traefik's certificates come from.
    pub enum TraefikMode {
        /// `mkcert`, for this machine.
        Mkcert = "mkcert",
        /// An ACME authority such as Let's Encrypt.
        Acme = "acme",
        /// No certificates.
        None = "none",
    }
}

choice! {
    /// Who may see Traefik's dashboard.
    pub enum DashboardAuth {
        /// Who knows a user name and a password.
        Basic = "basic",
        /// Everybody.
        None = "none",
    }
}

choice! {
    /// How Traefik learns of a service's containers.
    pub enum RoutesBy {
        /// From files that Stagecraft writes on the gateways.
        File = "file",
        /// From the containers' labels, by itself.
        Labels = "labels",
    }
}

record! {
    /// How Traefik is set up in an environment.
    #[derive(Default)]
    pub struct Traefik {
        /// How it learns of containers. Missing: `file`.
        routes: Option<RoutesBy>,
        /// Where certificates come from.
        mode: Option<TraefikMode>,
        /// The folder of `mkcert`'s certificates, relative to this file.
        mkcert_cert_dir: Option<FilePath>,
        /// The folder of Traefik's dynamic configuration.
        dynamic_config_dir: Option<FilePath>,
        /// Who may see the dashboard.
        dashboard_auth: Option<DashboardAuth>,
        /// The variable that holds the e-mail address for the ACME authority.
        acme_email_env: Option<Variable>,
        /// The file on the hosts in which Traefik keeps its ACME certificates.
        acme_storage: Option<FilePath>,
        /// Whether browsers are told to insist on HTTPS.
        hsts: bool,
    }
}

choice! {
    /// Where a service runs in an environment.
    pub enum Mode {
        /// In containers on the hosts of its role.
        Container = "container",
        /// Elsewhere: Stagecraft leaves it out.
        External = "external",
    }
}
