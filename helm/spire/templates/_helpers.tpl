{{- define "spire.fullname" -}}
{{ .Values.fullnameOverride | default .Release.Name }}
{{- end }}

{{- define "spire.server" -}}
{{ include "spire.fullname" . }}-server
{{- end }}

{{- define "spire.agent" -}}
{{ include "spire.fullname" . }}-agent
{{- end }}

{{- define "spire.bundle" -}}
{{ include "spire.fullname" . }}-bundle
{{- end }}

{{- define "spire.confined" -}}
readOnlyRootFilesystem: true
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "spire.health" -}}
health_checks {
  listener_enabled = true
  bind_address = "0.0.0.0"
  bind_port = "8080"
  live_path = "/live"
  ready_path = "/ready"
}
{{- end }}
