{{/*
A whole envoy.yaml. Takes a dict:
  envoy     the values of this chart
  name      node.id
  inbound   the port of a listener with mTLS on every address, or nothing
  outbound  the port of a plain listener on loopback, which forwards to `envoy.upstream`, or nothing
  app       the port of the application on loopback, where `inbound` forwards to; without it, to `envoy.upstream`
  bytes     {port, appPort}: a listener with the same mTLS that passes bytes on, and the application's port for them, or nothing
Cluster names: `local_service` is the application, `local_bytes` its port for bytes, `backend` the upstream, `spire_agent` SDS.
*/}}
{{- define "envoy.config" -}}
{{- $e := .envoy -}}
node:
  id: {{ .name | quote }}
  cluster: {{ $e.nodeCluster | quote }}
  {{- if not $e.spiffeValidator }}
  metadata:
    disable_spiffe_cert_validation: true
  {{- end }}
admin:
  address:
    socket_address: {address: 127.0.0.1, port_value: 9901}
overload_manager:
  resource_monitors:
    - name: envoy.resource_monitors.global_downstream_max_connections
      typed_config:
        "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
        max_active_downstream_connections: 10000
static_resources:
  listeners:
    {{- with .inbound }}
    - name: inbound
      address:
        socket_address: {address: 0.0.0.0, port_value: {{ . }}}
      access_log:
        - name: envoy.access_loggers.stdout
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
            log_format:
              text_format_source:
                inline_string: "[%START_TIME%] connection from=%DOWNSTREAM_REMOTE_ADDRESS% tls=%DOWNSTREAM_TLS_VERSION% peer=%DOWNSTREAM_PEER_URI_SAN% failure=%DOWNSTREAM_TRANSPORT_FAILURE_REASON%\n"
      {{- $http := include "envoy.http" (dict "envoy" $e "stat" "ingress_http" "inbound" true "to" (ternary "local_service" "backend" (not (empty $.app)))) }}
      {{- include "envoy.chains" (dict "envoy" $e "stat" "ingress_http" "names" $e.serverNames "filters" $http) | trim | nindent 6 }}
    {{- end }}
    {{- with .bytes }}
    - name: bytes
      address:
        socket_address: {address: 0.0.0.0, port_value: {{ int .port }}}
      {{- include "envoy.chains" (dict "envoy" $e "stat" "bytes" "names" list "filters" (include "envoy.tcp" .)) | trim | nindent 6 }}
    {{- end }}
    {{- with .outbound }}
    - name: outbound
      address:
        socket_address: {address: 127.0.0.1, port_value: {{ . }}}
      filter_chains:
        - filters:
            {{- include "envoy.http" (dict "envoy" $e "stat" "outbound-proxy" "inbound" false "to" "backend") | nindent 12 }}
    {{- end }}
    # For the kubelet. Envoy opens its listeners once their secrets have come, so an answer here says that it serves;
    # the admin interface stays on loopback.
    - name: ready
      address:
        socket_address: {address: 0.0.0.0, port_value: 9902}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: ready
                route_config:
                  virtual_hosts:
                    - name: ready
                      domains: ["*"]
                      routes:
                        - match: {path: /ready}
                          direct_response: {status: 200, body: {inline_string: "ready\n"}}
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
    - name: spire_agent
      connect_timeout: 0.25s
      {{- include "envoy.http2" . | nindent 6 }}
      load_assignment:
        cluster_name: spire_agent
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {pipe: {path: {{ printf "%s/%s" $e.socketDir $e.socketFile | quote }}}}}
    {{- if and .inbound $e.extAuthz.port }}
    - name: authorizer
      connect_timeout: 0.25s
      load_assignment:
        cluster_name: authorizer
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{ int $e.extAuthz.port }}}}}
    {{- end }}
    {{- if and .inbound $e.jwt.audiences }}
    # SPIRE's server publishes its JWT keys there, under its own SVID.
    - name: spire_bundle
      connect_timeout: 1s
      cluster_type:
        name: envoy.clusters.dns
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
          dns_lookup_family: V4_ONLY
          dns_refresh_rate: 0.5s
          respect_dns_ttl: false
      load_assignment:
        cluster_name: spire_bundle
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: {{ required "envoy.jwt.bundleEndpoint.address: whose keys?" $e.jwt.bundleEndpoint.address | quote }}, port_value: {{ int $e.jwt.bundleEndpoint.port }}}}}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          common_tls_context:
            {{- include "envoy.secrets" (dict "envoy" $e "sans" (list "/spire/server") "verification" "VERIFY_TRUST_CHAIN") | nindent 12 }}
    {{- end }}
    {{- with .bytes }}
    - name: local_bytes
      connect_timeout: 1s
      load_assignment:
        cluster_name: local_bytes
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{ int .appPort }}}}}
    {{- end }}
    {{- with .app }}
    - name: local_service
      connect_timeout: 1s
      {{- if or $e.sameHttp $e.trailers }}
      {{- include "envoy.toApp" $e | nindent 6 }}
      {{- end }}
      load_assignment:
        cluster_name: local_service
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: {{ . }}}}}
    {{- else }}
    - name: backend
      connect_timeout: 1s
      cluster_type:
        name: envoy.clusters.dns
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.clusters.dns.v3.DnsCluster
          dns_lookup_family: V4_ONLY
          dns_refresh_rate: {{ $e.upstream.dnsRefresh }}
          respect_dns_ttl: false
      {{- if $e.upstream.http2 }}
      {{- include "envoy.http2" . | nindent 6 }}
      {{- end }}
      load_assignment:
        cluster_name: backend
        endpoints:
          - lb_endpoints:
              - endpoint: {address: {socket_address: {address: {{ required "envoy.upstream.address: where to?" $e.upstream.address | quote }}, port_value: {{ int $e.upstream.port }}}}}
      transport_socket:
        name: envoy.transport_sockets.tls
        typed_config: {{- include "envoy.upstreamTls" $e | nindent 10 }}
    {{- end }}
{{- end }}

{{/*
A listener's filter chains: which connections are taken, and how. Takes a dict of envoy, stat (the prefix of what is counted),
names (the server names that are taken; none for any) and filters (text).
*/}}
{{- define "envoy.chains" -}}
{{- if or .names .envoy.plainText }}
listener_filters:
  - name: envoy.filters.listener.tls_inspector
    typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}
{{- end }}
filter_chains:
  - transport_socket:
      name: envoy.transport_sockets.tls
      typed_config: {{- include "envoy.downstream" .envoy | nindent 8 }}
    {{- with .names }}
    filter_chain_match: {server_names: {{ toJson . }}}
    {{- end }}
    filters:
      {{- if .envoy.cutOff }}
      {{- include "envoy.cutOff" . | nindent 6 }}
      {{- end }}
      {{- .filters | nindent 6 }}
  {{- if .envoy.plainText }}
  - filter_chain_match: {transport_protocol: raw_buffer}
    filters:
      {{- .filters | nindent 6 }}
  {{- end }}
{{- end }}

{{/* The network filter that cuts connections off, whatever is sent on them. Takes a dict of envoy and stat. */}}
{{- define "envoy.cutOff" -}}
- name: envoy.filters.network.rbac
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC
    stat_prefix: {{ .stat }}.
    rules:
      action: DENY
      policies:
        cut-off:
          permissions: [{any: true}]
          principals:
            {{- range .envoy.cutOff }}
            - authenticated: {principal_name: {exact: {{ printf "spiffe://%s%s" $.envoy.trustDomain . | quote }}}}
            {{- end }}
{{- end }}

{{/* The network filter that passes bytes on to the application. */}}
{{- define "envoy.tcp" -}}
- name: envoy.filters.network.tcp_proxy
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
    stat_prefix: bytes
    cluster: local_bytes
{{- end }}

{{/* How the application is spoken to, in other than HTTP/1.1 or with trailers. Takes the values of this chart. */}}
{{- define "envoy.toApp" -}}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    {{ ternary "use_downstream_protocol_config" "explicit_http_config" .sameHttp }}:
      http_protocol_options: {enable_trailers: {{ .trailers }}}
      {{- if .sameHttp }}
      http2_protocol_options: {}
      {{- end }}
{{- end }}

{{/* The TLS of a listener: who may come in. Takes the values of this chart. */}}
{{- define "envoy.downstream" -}}
"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
require_client_certificate: {{ .requireClientCertificate }}
common_tls_context:
  tls_params:
    tls_minimum_protocol_version: {{ .tls.min }}
    tls_maximum_protocol_version: {{ .tls.max }}
  {{- with .alpn }}
  alpn_protocols: {{ toJson . }}
  {{- end }}
  {{- include "envoy.secrets" (dict "envoy" . "sans" .allow "verification" .trustChainVerification) | nindent 2 }}
{{- end }}

{{/* The TLS towards the upstream: whom it must be. Takes the values of this chart. */}}
{{- define "envoy.upstreamTls" -}}
"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
common_tls_context:
  {{- with .upstream.tlsMax }}
  tls_params:
    tls_maximum_protocol_version: {{ . }}
  {{- end }}
  {{- if .upstream.http2 }}
  alpn_protocols: [h2]
  {{- end }}
  {{- $sans := list }}
  {{- with .upstream.identity }}{{ $sans = list . }}{{ end }}
  {{- include "envoy.secrets" (dict "envoy" . "sans" $sans "verification" "VERIFY_TRUST_CHAIN") | nindent 2 }}
{{- end }}

{{/* The certificate to prove and the rule to verify by, both from SDS. Takes a dict of envoy, sans and verification. */}}
{{- define "envoy.secrets" -}}
{{- $domain := printf "spiffe://%s" .envoy.trustDomain -}}
tls_certificate_sds_secret_configs:
  - name: {{ printf "%s%s" $domain (required "envoy.identity: which SPIFFE ID does this Envoy prove?" .envoy.identity) | quote }}
    sds_config: {{- include "envoy.sds" . | nindent 6 }}
combined_validation_context:
  default_validation_context:
    trust_chain_verification: {{ .verification }}
    {{- with .sans }}
    match_typed_subject_alt_names:
      {{- range . }}
      - {san_type: URI, matcher: {exact: {{ ternary . (printf "%s%s" $domain .) (hasPrefix "spiffe://" .) | quote }}}}
      {{- end }}
    {{- end }}
  validation_context_sds_secret_config:
    {{- /* SPIRE's agent hands out the bundles of all trust domains that the workload's entry federates with. */}}
    name: {{ ternary "ALL" $domain .envoy.federated | quote }}
    sds_config: {{- include "envoy.sds" . | nindent 6 }}
{{- end }}

{{- define "envoy.sds" -}}
resource_api_version: V3
api_config_source:
  api_type: GRPC
  transport_api_version: V3
  grpc_services: [{envoy_grpc: {cluster_name: spire_agent}}]
{{- end }}

{{- define "envoy.http2" -}}
typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
    explicit_http_config: {http2_protocol_options: {}}
{{- end }}

{{/* The HTTP connection manager. Takes a dict of envoy, stat (its prefix), inbound (whether policies concern it), and to (a cluster). */}}
{{- define "envoy.http" -}}
- name: envoy.filters.network.http_connection_manager
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
    stat_prefix: {{ .stat }}
    {{- if .inbound }}
    # The application learns who calls from this Envoy and from nobody else.
    forward_client_cert_details: SANITIZE_SET
    set_current_client_cert_details: {uri: true}
    {{- if .envoy.hardening }}
    normalize_path: true
    merge_slashes: true
    path_with_escaped_slashes_action: REJECT_REQUEST
    {{- end }}
    {{- if .envoy.trailers }}
    http_protocol_options: {enable_trailers: true}
    {{- end }}
    {{- if .envoy.websockets }}
    upgrade_configs: [{upgrade_type: websocket}]
    {{- end }}
    {{- end }}
    access_log:
      - name: envoy.access_loggers.stdout
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
          log_format:
            text_format_source:
              inline_string: "[%START_TIME%] {{ .stat }} \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% flags=%RESPONSE_FLAGS% peer=%DOWNSTREAM_PEER_URI_SAN% upstream=%UPSTREAM_HOST% upstream-failure=%UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
    route_config:
      virtual_hosts:
        - name: {{ .to }}
          domains: {{ ternary (toJson .envoy.domains) "[\"*\"]" .inbound }}
          routes:
            {{- if and .inbound .envoy.extAuthz.port }}
            {{- range .envoy.extAuthz.unasked }}
            - match: {path: {{ . | quote }}}
              route: {cluster: {{ $.to }}}
              typed_per_filter_config:
                envoy.filters.http.ext_authz:
                  "@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                  disabled: true
            {{- end }}
            {{- end }}
            {{- if .inbound }}
            {{- range .envoy.direct }}
            - match: {path: {{ .path | quote }}}
              direct_response: {status: {{ int .status }}, body: {inline_string: {{ .body | quote }}}}
            {{- end }}
            {{- end }}
            - match: {prefix: /}
              route: {cluster: {{ .to }}}
    http_filters:
      {{- if and .inbound .envoy.jwt.audiences }}
      - name: envoy.filters.http.jwt_authn
        typed_config: {{- include "envoy.jwt" .envoy | nindent 10 }}
      {{- end }}
      {{- if and .inbound .envoy.extAuthz.port }}
      - name: envoy.filters.http.ext_authz
        typed_config: {{- include "envoy.extAuthz" .envoy | nindent 10 }}
      {{- end }}
      {{- if and .inbound .envoy.rbac }}
      - name: envoy.filters.http.rbac
        typed_config: {{- include "envoy.rbac" .envoy | nindent 10 }}
      {{- end }}
      - name: envoy.filters.http.router
        typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
{{- end }}

{{/* The JWT filter: a request bears a JWT-SVID, for one of these audiences. Takes the values of this chart. */}}
{{- define "envoy.jwt" -}}
"@type": type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication
providers:
  spire:
    audiences:
      {{- range .jwt.audiences }}
      - {{ . | quote }}
      {{- end }}
    {{- with .jwt.subject }}
    subjects: {exact: {{ printf "spiffe://%s%s" $.trustDomain . | quote }}}
    {{- end }}
    clock_skew_seconds: {{ int .jwt.clockSkew }}
    remote_jwks:
      http_uri: {uri: {{ printf "https://%s/" .jwt.bundleEndpoint.address | quote }}, cluster: spire_bundle, timeout: 5s}
      cache_duration: 300s
      # The listener opens once the keys have come.
      async_fetch: {failed_refetch_duration: 1s}
rules:
  - match: {prefix: /}
    requires: {provider_name: spire}
{{- end }}

{{/* The filter that asks the authorizer beside this Envoy. Takes the values of this chart. */}}
{{- define "envoy.extAuthz" -}}
"@type": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
http_service:
  server_uri: {uri: "http://authorizer/", cluster: authorizer, timeout: 1s}
# Who calls, as this Envoy itself says it.
allowed_headers: {patterns: [{exact: x-forwarded-client-cert}]}
failure_mode_allow: {{ .extAuthz.failureModeAllow }}
{{- with .extAuthz.statPrefix }}
stat_prefix: {{ . | quote }}
{{- end }}
{{- end }}

{{/* The RBAC filter. Takes the values of this chart. */}}
{{- define "envoy.rbac" -}}
{{- $e := . -}}
"@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
rules:
  action: ALLOW
  policies:
    {{- range .rbac }}
    {{ .name | quote }}:
      permissions:
        - and_rules:
            rules:
              - any: true
              {{- with .methods }}
              - or_rules:
                  rules:
                    {{- range . }}
                    - header: {name: ":method", string_match: {exact: {{ . | quote }}}}
                    {{- end }}
              {{- end }}
              {{- with .prefixes }}
              - or_rules:
                  rules:
                    {{- range . }}
                    {{- if and $e.hardening (not (hasSuffix "/" .)) }}
                    - url_path: {path: {exact: {{ . | quote }}}}
                    - url_path: {path: {prefix: {{ printf "%s/" . | quote }}}}
                    {{- else }}
                    - url_path: {path: {prefix: {{ . | quote }}}}
                    {{- end }}
                    {{- end }}
              {{- end }}
      principals:
        {{- range .from }}
        - authenticated: {principal_name: {exact: {{ printf "spiffe://%s%s" $e.trustDomain . | quote }}}}
        {{- end }}
    {{- end }}
{{- end }}
