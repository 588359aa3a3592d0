//! The options of Traefik v3 that labels can set: each one's spelling in a configuration file and its
//! type. Data alone; what Traefik leaves out of its labels (weighted services, transports) is not here.

/// What a value is, and what may be below a name.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    Text,
    Bool,
    Int,
    /// `10s`, or a number of seconds.
    Duration,
    /// `a,b`
    Texts,
    /// The name of another object, which may say who provides it: `auth@docker`.
    Name,
    Names,
    /// Options by name. The second says whether the bare label with the value `true` turns it on.
    Options(&'static [Field], Bare),
    /// Objects by names that the user gives.
    Each(&'static Kind),
    /// A list of objects: `domains[0].main`.
    List(&'static Kind),
    /// Whatever a plugin understands.
    Free,
}

/// Whether an object of options is complete without any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    Allowed,
    Refused,
}

pub type Field = (&'static str, Kind);

use Bare::{Allowed, Refused};
use Kind::{Bool, Duration, Each, Free, Int, List, Name, Names, Options, Text, Texts};

/// What labels can be.
pub static LABELS: Kind = Options(&[("traefik", Options(ROOT, Refused))], Refused);

/// All that a label `traefik.…` can lead to.
pub static ROOT: &[Field] = &[
    (
        "http",
        Options(
            &[
                ("routers", Each(&Options(HTTP_ROUTER, Refused))),
                ("services", Each(&Options(HTTP_SERVICE, Refused))),
                ("middlewares", Each(&Options(HTTP_MIDDLEWARE, Refused))),
            ],
            Refused,
        ),
    ),
    (
        "tcp",
        Options(
            &[
                ("routers", Each(&Options(TCP_ROUTER, Refused))),
                ("services", Each(&Options(TCP_SERVICE, Refused))),
                ("middlewares", Each(&Options(TCP_MIDDLEWARE, Refused))),
            ],
            Refused,
        ),
    ),
    (
        "udp",
        Options(
            &[
                ("routers", Each(&Options(UDP_ROUTER, Refused))),
                ("services", Each(&Options(UDP_SERVICE, Refused))),
            ],
            Refused,
        ),
    ),
    (
        "tls",
        Options(
            &[
                ("options", Each(&Options(TLS_OPTIONS, Refused))),
                ("stores", Each(&Options(TLS_STORE, Refused))),
            ],
            Refused,
        ),
    ),
];

static HTTP_ROUTER: &[Field] = &[
    ("entryPoints", Texts),
    ("rule", Text),
    ("ruleSyntax", Text),
    ("priority", Int),
    ("middlewares", Names),
    ("service", Name),
    ("tls", Options(&[("options", Name), ("certResolver", Text), DOMAINS], Allowed)),
    (
        "observability",
        Options(
            &[("accessLogs", Bool), ("metrics", Bool), ("tracing", Bool), ("traceVerbosity", Text)],
            Refused,
        ),
    ),
];

const DOMAINS: Field = ("domains", List(&Options(DOMAIN, Refused)));
static DOMAIN: &[Field] = &[("main", Text), ("sans", Texts)];

static HTTP_SERVICE: &[Field] = &[("loadBalancer", Options(HTTP_BALANCER, Refused))];

static HTTP_BALANCER: &[Field] = &[
    // Read, not lifted: `lift` takes it away.
    (
        "server",
        Options(
            &[
                ("port", Text),
                ("scheme", Text),
                ("weight", Int),
                ("preservePath", Bool),
                ("url", Text),
            ],
            Refused,
        ),
    ),
    ("strategy", Text),
    ("passHostHeader", Bool),
    ("serversTransport", Name),
    ("responseForwarding", Options(&[("flushInterval", Duration)], Refused)),
    (
        "sticky",
        Options(
            &[(
                "cookie",
                Options(
                    &[
                        ("name", Text),
                        ("secure", Bool),
                        ("httpOnly", Bool),
                        ("sameSite", Text),
                        ("maxAge", Int),
                        ("path", Text),
                        ("domain", Text),
                    ],
                    Allowed,
                ),
            )],
            Allowed,
        ),
    ),
    (
        "healthCheck",
        Options(
            &[
                ("scheme", Text),
                ("mode", Text),
                ("path", Text),
                ("method", Text),
                ("status", Int),
                ("port", Int),
                ("interval", Duration),
                ("unhealthyInterval", Duration),
                ("timeout", Duration),
                ("hostname", Text),
                ("followRedirects", Bool),
                ("headers", Each(&Text)),
            ],
            Refused,
        ),
    ),
    (
        "passiveHealthCheck",
        Options(&[("failureWindow", Duration), ("maxFailedAttempts", Int)], Refused),
    ),
];

static HTTP_MIDDLEWARE: &[Field] = &[
    ("addPrefix", Options(&[("prefix", Text)], Refused)),
    ("basicAuth", Options(BASIC_AUTH, Refused)),
    (
        "buffering",
        Options(
            &[
                ("maxRequestBodyBytes", Int),
                ("memRequestBodyBytes", Int),
                ("maxResponseBodyBytes", Int),
                ("memResponseBodyBytes", Int),
                ("retryExpression", Text),
            ],
            Refused,
        ),
    ),
    ("chain", Options(&[("middlewares", Names)], Refused)),
    (
        "circuitBreaker",
        Options(
            &[
                ("expression", Text),
                ("checkPeriod", Duration),
                ("fallbackDuration", Duration),
                ("recoveryDuration", Duration),
                ("responseCode", Int),
            ],
            Refused,
        ),
    ),
    (
        "compress",
        Options(
            &[
                ("excludedContentTypes", Texts),
                ("includedContentTypes", Texts),
                ("minResponseBodyBytes", Int),
                ("encodings", Texts),
                ("defaultEncoding", Text),
            ],
            Allowed,
        ),
    ),
    ("contentType", Options(&[("autoDetect", Bool)], Allowed)),
    ("digestAuth", Options(BASIC_AUTH, Refused)),
    ("encodedCharacters", Options(ENCODED_CHARACTERS, Refused)),
    (
        "errors",
        Options(
            &[
                ("status", Texts),
                ("statusRewrites", Each(&Int)),
                ("service", Name),
                ("query", Text),
                ("errorRequestHeaders", Texts),
            ],
            Refused,
        ),
    ),
    ("forwardAuth", Options(FORWARD_AUTH, Refused)),
    ("grpcWeb", Options(&[("allowOrigins", Texts)], Refused)),
    ("headers", Options(HEADERS, Refused)),
    ("inFlightReq", Options(&[("amount", Int), SOURCE_CRITERION], Refused)),
    (
        "ipAllowList",
        Options(&[("sourceRange", Texts), ("rejectStatusCode", Int), IP_STRATEGY], Refused),
    ),
    ("ipWhiteList", Options(&[("sourceRange", Texts), IP_STRATEGY], Refused)),
    (
        "passTLSClientCert",
        Options(&[("pem", Bool), ("info", Options(CERTIFICATE_INFO, Refused))], Refused),
    ),
    ("plugin", Each(&Free)),
    (
        "rateLimit",
        Options(
            &[
                ("average", Int),
                ("period", Duration),
                ("burst", Int),
                SOURCE_CRITERION,
                ("redis", Options(REDIS, Refused)),
            ],
            Refused,
        ),
    ),
    (
        "redirectRegex",
        Options(&[("regex", Text), ("replacement", Text), ("permanent", Bool)], Refused),
    ),
    ("redirectScheme", Options(&[("scheme", Text), ("port", Text), ("permanent", Bool)], Refused)),
    ("replacePath", Options(&[("path", Text)], Refused)),
    ("replacePathRegex", Options(&[("regex", Text), ("replacement", Text)], Refused)),
    (
        "retry",
        Options(
            &[
                ("attempts", Int),
                ("initialInterval", Duration),
                ("timeout", Duration),
                ("maxRequestBodyBytes", Int),
                ("status", Texts),
                ("disableRetryOnNetworkError", Bool),
                ("retryNonIdempotentMethod", Bool),
            ],
            Refused,
        ),
    ),
    ("stripPrefix", Options(&[("prefixes", Texts), ("forceSlash", Bool)], Refused)),
    ("stripPrefixRegex", Options(&[("regex", Texts)], Refused)),
];

static BASIC_AUTH: &[Field] = &[
    ("users", Texts),
    ("usersFile", Text),
    ("realm", Text),
    ("headerField", Text),
    ("removeHeader", Bool),
];

static ENCODED_CHARACTERS: &[Field] = &[
    ("allowEncodedSlash", Bool),
    ("allowEncodedBackSlash", Bool),
    ("allowEncodedNullCharacter", Bool),
    ("allowEncodedSemicolon", Bool),
    ("allowEncodedPercent", Bool),
    ("allowEncodedQuestionMark", Bool),
    ("allowEncodedHash", Bool),
];

static FORWARD_AUTH: &[Field] = &[
    ("address", Text),
    (
        "tls",
        Options(
            &[("ca", Text), ("cert", Text), ("key", Text), ("insecureSkipVerify", Bool)],
            Refused,
        ),
    ),
    ("trustForwardHeader", Bool),
    ("authResponseHeaders", Texts),
    ("authResponseHeadersRegex", Text),
    ("authRequestHeaders", Texts),
    ("addAuthCookiesToResponse", Texts),
    ("forwardBody", Bool),
    ("maxBodySize", Int),
    ("maxResponseBodySize", Int),
    ("headerField", Text),
    ("preserveLocationHeader", Bool),
    ("preserveRequestMethod", Bool),
    ("authSigninURL", Text),
];

static HEADERS: &[Field] = &[
    ("customRequestHeaders", Each(&Text)),
    ("customResponseHeaders", Each(&Text)),
    ("accessControlAllowCredentials", Bool),
    ("accessControlAllowHeaders", Texts),
    ("accessControlAllowMethods", Texts),
    ("accessControlAllowOriginList", Texts),
    ("accessControlAllowOriginListRegex", Texts),
    ("accessControlExposeHeaders", Texts),
    ("accessControlMaxAge", Int),
    ("addVaryHeader", Bool),
    ("allowedHosts", Texts),
    ("hostsProxyHeaders", Texts),
    ("sslRedirect", Bool),
    ("sslTemporaryRedirect", Bool),
    ("sslHost", Text),
    ("sslProxyHeaders", Each(&Text)),
    ("sslForceHost", Bool),
    ("stsSeconds", Int),
    ("stsIncludeSubdomains", Bool),
    ("stsPreload", Bool),
    ("forceSTSHeader", Bool),
    ("frameDeny", Bool),
    ("customFrameOptionsValue", Text),
    ("contentTypeNosniff", Bool),
    ("browserXssFilter", Bool),
    ("customBrowserXSSValue", Text),
    ("contentSecurityPolicy", Text),
    ("contentSecurityPolicyReportOnly", Text),
    ("publicKey", Text),
    ("referrerPolicy", Text),
    ("featurePolicy", Text),
    ("permissionsPolicy", Text),
    ("isDevelopment", Bool),
];

const IP_STRATEGY: Field = (
    "ipStrategy",
    Options(&[("depth", Int), ("excludedIPs", Texts), ("ipv6Subnet", Int)], Allowed),
);

const SOURCE_CRITERION: Field = (
    "sourceCriterion",
    Options(&[IP_STRATEGY, ("requestHeaderName", Text), ("requestHost", Bool)], Refused),
);

static REDIS: &[Field] = &[
    ("endpoints", Texts),
    (
        "tls",
        Options(
            &[("ca", Text), ("cert", Text), ("key", Text), ("insecureSkipVerify", Bool)],
            Refused,
        ),
    ),
    ("username", Text),
    ("password", Text),
    ("db", Int),
    ("poolSize", Int),
    ("minIdleConns", Int),
    ("maxActiveConns", Int),
    ("readTimeout", Duration),
    ("writeTimeout", Duration),
    ("dialTimeout", Duration),
];

static CERTIFICATE_INFO: &[Field] = &[
    ("notAfter", Bool),
    ("notBefore", Bool),
    ("sans", Bool),
    ("serialNumber", Bool),
    ("subject", Options(DISTINGUISHED_NAME, Refused)),
    ("issuer", Options(DISTINGUISHED_NAME, Refused)),
];

static DISTINGUISHED_NAME: &[Field] = &[
    ("country", Bool),
    ("province", Bool),
    ("locality", Bool),
    ("organization", Bool),
    ("organizationalUnit", Bool),
    ("commonName", Bool),
    ("serialNumber", Bool),
    ("domainComponent", Bool),
];

static TCP_ROUTER: &[Field] = &[
    ("entryPoints", Texts),
    ("middlewares", Names),
    ("rule", Text),
    ("ruleSyntax", Text),
    ("service", Name),
    ("priority", Int),
    (
        "tls",
        Options(
            &[("passthrough", Bool), ("options", Name), ("certResolver", Text), DOMAINS],
            Allowed,
        ),
    ),
];

static TCP_SERVICE: &[Field] = &[(
    "loadBalancer",
    Options(
        &[
            ("server", Options(&[("port", Text), ("tls", Bool)], Refused)),
            ("terminationDelay", Int),
            ("proxyProtocol", Options(&[("version", Int)], Allowed)),
            ("serversTransport", Name),
            (
                "healthCheck",
                Options(
                    &[
                        ("port", Int),
                        ("send", Text),
                        ("expect", Text),
                        ("interval", Duration),
                        ("unhealthyInterval", Duration),
                        ("timeout", Duration),
                    ],
                    Allowed,
                ),
            ),
        ],
        Refused,
    ),
)];

static TCP_MIDDLEWARE: &[Field] = &[
    ("inFlightConn", Options(&[("amount", Int)], Refused)),
    ("ipAllowList", Options(&[("sourceRange", Texts)], Refused)),
    ("ipWhiteList", Options(&[("sourceRange", Texts)], Refused)),
];

static UDP_ROUTER: &[Field] = &[("entryPoints", Texts), ("service", Name)];

static UDP_SERVICE: &[Field] =
    &[("loadBalancer", Options(&[("server", Options(&[("port", Text)], Refused))], Refused))];

static TLS_OPTIONS: &[Field] = &[
    ("minVersion", Text),
    ("maxVersion", Text),
    ("cipherSuites", Texts),
    ("curvePreferences", Texts),
    ("sniStrict", Bool),
    ("preferServerCipherSuites", Bool),
    ("alpnProtocols", Texts),
    ("disableSessionTickets", Bool),
    ("clientAuth", Options(&[("caFiles", Texts), ("clientAuthType", Text)], Refused)),
];

static TLS_STORE: &[Field] = &[
    ("defaultCertificate", Options(&[("certFile", Text), ("keyFile", Text)], Refused)),
    (
        "defaultGeneratedCert",
        Options(&[("resolver", Text), ("domain", Options(DOMAIN, Refused))], Refused),
    ),
];
