{{- define "symbank.name" -}}
{{ .Values.name | default .Release.Name }}
{{- end }}

{{/* The ports are the tutorial's: 3000 and 3001 for account 1, 3002 and 3003 for account 2. */}}
{{- define "symbank.port" -}}
{{ add 2998 (mul 2 .Values.account) }}
{{- end }}

{{- define "symbank.proxyPort" -}}
{{ add 2999 (mul 2 .Values.account) }}
{{- end }}
