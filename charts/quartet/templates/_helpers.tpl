{{/* The name of the operator's objects. 63 characters is the bound of a label; the longest suffix is -metrics. */}}
{{- define "quartet.name" -}}
{{- printf "%s-operator" (default .Release.Name .Values.nameOverride | trunc 45 | trimSuffix "-") -}}
{{- end -}}

{{/* What selects the operator's pods; members' NetworkPolicies rely on the name label. Never changes. */}}
{{- define "quartet.selectorLabels" -}}
app.kubernetes.io/name: quartet-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "quartet.labels" -}}
{{ include "quartet.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: quartet
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "quartet.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "quartet.name" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name is required when serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Repository and tag of one of the images: (list . .Values.image.node) */}}
{{- define "quartet.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) -}}
{{- end -}}
