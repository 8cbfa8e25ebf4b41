{{/* The Envoy container. Takes a dict of envoy (the values of this chart) and port: {name, number} of a listener to declare, or nothing. */}}
{{- define "envoy.container" -}}
- name: envoy
  image: {{ .envoy.image | quote }}
  imagePullPolicy: IfNotPresent
  args: [-c, /run/envoy/envoy.yaml, --concurrency, "1", --log-level, {{ .envoy.logLevel }}, --disable-hot-restart, --drain-time-s, "1"]
  ports:
    {{- with .port }}
    - {name: {{ .name }}, containerPort: {{ .number }}}
    {{- end }}
    - {name: envoy-ready, containerPort: 9902}
  readinessProbe:
    httpGet: {path: /ready, port: envoy-ready}
    periodSeconds: 1
  resources:
    requests: {cpu: 10m, memory: 32Mi}
  securityContext: {{- include "envoy.confined" 101 | nindent 4 }}
  volumeMounts:
    - {name: envoy, mountPath: /run/envoy, readOnly: true}
    - {name: spire-agent, mountPath: {{ .envoy.socketDir | quote }}, readOnly: true}
{{- end }}

{{/* The volumes of that container. Takes a dict of envoy (the values of this chart) and config: the name of the ConfigMap with envoy.yaml. */}}
{{- define "envoy.volumes" -}}
- name: envoy
  configMap: {name: {{ .config }}}
- name: spire-agent
  {{- if .envoy.csi }}
  csi: {driver: {{ .envoy.csi | quote }}, readOnly: true}
  {{- else }}
  hostPath: {path: {{ .envoy.socketDir | quote }}, type: Directory}
  {{- end }}
{{- end }}

{{/* The securityContext of a container that needs nothing of its node. Takes the user's number. */}}
{{- define "envoy.confined" -}}
runAsUser: {{ . }}
runAsGroup: {{ . }}
runAsNonRoot: true
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}
