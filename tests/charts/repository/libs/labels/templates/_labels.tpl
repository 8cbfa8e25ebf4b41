{{- define "labels.app" -}}
app: {{ .Release.Name }}
{{- end }}
