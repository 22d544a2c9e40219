{{- define "serin.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "serin.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "serin.labels" -}}
{{ include "serin.selector" . }}
{{ include "serin.release" . }}
{{- end -}}

{{- define "serin.release" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{- define "serin.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "serin.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- /* Of the write-back. Its pods have another name than the controller's, whose selector is that alone and cannot change. */ -}}
{{- define "serin.gitops.fullname" -}}
{{- include "serin.fullname" . | trunc 56 | trimSuffix "-" -}}-gitops
{{- end -}}

{{- define "serin.gitops.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 56 | trimSuffix "-" }}-gitops
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: gitops
{{- end -}}

{{- define "serin.gitops.labels" -}}
{{ include "serin.gitops.selector" . }}
{{ include "serin.release" . }}
{{- end -}}

{{- define "serin.gitops.serviceAccount" -}}
{{- if .Values.gitops.serviceAccount.create -}}
{{- default (include "serin.gitops.fullname" .) .Values.gitops.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.gitops.serviceAccount.name -}}
{{- end -}}
{{- end -}}
