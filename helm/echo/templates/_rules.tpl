{{/* The authorizer's rules, in JSON, with whole SPIFFE IDs. */}}
{{- define "echo.rules" -}}
{{- $domain := .Values.envoy.trustDomain -}}
{{- $rules := list -}}
{{- range .Values.authorizer.rules -}}
{{- $rules = append $rules (merge (dict "from" (printf "spiffe://%s%s" $domain .from)) .) -}}
{{- end -}}
{{- toJson $rules -}}
{{- end }}
