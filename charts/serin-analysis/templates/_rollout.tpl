{{/*
The chart's Deployment as a Rollout that brings a new version in step by step, and the AnalysisTemplates that it is judged by.

The pod template is taken, rather than referred to with workloadRef: Helm would put the Deployment's replicas back with every
upgrade, and all pods of the new version would come at once beside the canary.
*/}}
{{- define "serin-analysis.rollout" -}}
{{- $settings := (get .Values "serin-analysis" | default dict).rollout -}}
{{- if not $settings -}}
{{- fail (printf "chart %s: the dependency must be called serin-analysis, without an alias" .Chart.Name) -}}
{{- end -}}
{{- $file := printf "%s/%s" .Template.BasePath $settings.deployment -}}
{{- $text := include $file . -}}
{{- if $text | trim -}}
{{- include "serin-analysis.of-deployment" (dict "root" . "settings" $settings "file" $file "text" $text) -}}
{{- end -}}
{{- end -}}

{{- define "serin-analysis.of-deployment" -}}
{{- $settings := .settings -}}
{{- if regexMatch "(?m)^---" (.text | trim | trimPrefix "---") -}}
{{- fail (printf "%s: holds more than one object; leave the Deployment alone in it" .file) -}}
{{- end -}}
{{- $rollout := fromYaml .text -}}
{{- if ne (toString $rollout.kind) "Deployment" -}}
{{- fail (printf "%s: must hold a Deployment, not %s" .file (default $rollout.kind $rollout.Error)) -}}
{{- end -}}
{{- $name := $rollout.metadata.name -}}
{{- if gt (len $name) 46 -}}
{{- fail (printf "%s: metadata.name: %s has more than 46 characters; names of its pods would be cut, and queries find them by name" .file $name) -}}
{{- end -}}
{{- $strategy := default dict $rollout.spec.strategy -}}
{{- if eq (toString $strategy.type) "Recreate" -}}
{{- fail (printf "%s: spec.strategy.type: Recreate allows no two versions at once, which a canary is" .file) -}}
{{- end -}}
{{- $prefix := printf "%s-" $name -}}
{{- $canary := deepCopy (default dict $strategy.rollingUpdate) -}}
{{- $_ := set $canary "steps" (include "serin-analysis.steps" (dict "settings" $settings "prefix" $prefix) | fromYamlArray) -}}
{{- $canary = mergeOverwrite $canary (deepCopy $settings.canary) -}}
{{- $_ := set $rollout "apiVersion" "argoproj.io/v1alpha1" -}}
{{- $_ := set $rollout "kind" "Rollout" -}}
{{- $_ := set $rollout.spec "strategy" (dict "canary" $canary) -}}
{{ toYaml $rollout }}
{{- $metadata := pick $rollout.metadata "namespace" "labels" -}}
{{- $root := .root -}}
{{- range $settings.analyses }}
---
{{ include "serin-analysis.template" (dict "root" $root "template" . "prefix" $prefix "metadata" $metadata) }}
{{- end }}
{{- end -}}

{{/* Each weight, and the analysis that it must pass. */}}
{{- define "serin-analysis.steps" -}}
{{- $settings := .settings -}}
{{- $prefix := .prefix -}}
{{- range .settings.weights }}
- setWeight: {{ . }}
- analysis:
    templates:
      {{- range $settings.analyses }}
      - templateName: {{ $prefix }}{{ . }}
      {{- end }}
    args:
      {{- include "serin-analysis.args" nil | nindent 6 }}
{{- end }}
{{- end -}}

{{/* What every template needs to know of a Rollout; for analyses that a chart writes itself. */}}
{{- define "serin-analysis.args" -}}
- name: rollout
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: namespace
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: canary-hash
  valueFrom:
    podTemplateHashValue: Latest
{{- end -}}
