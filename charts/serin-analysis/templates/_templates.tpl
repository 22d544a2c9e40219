{{/*
One AnalysisTemplate of analysis-templates/, with the defaults of its arguments and its metrics as the chart's values have them.
Takes `root`, `template` and `prefix`. It is read as a file, so that `{{args.x}}` in it needs no quoting for Helm.
*/}}
{{- define "serin-analysis.template" -}}
{{- $library := get .root.Subcharts "serin-analysis" -}}
{{- if not $library -}}
{{- fail (printf "chart %s: the dependency must be called serin-analysis, without an alias" .root.Chart.Name) -}}
{{- end -}}
{{- $values := get .root.Values "serin-analysis" -}}
{{- $args := $values.args | default dict -}}
{{- $metrics := $values.metrics | default dict -}}
{{- $object := $library.Files.Get (printf "analysis-templates/%s.yaml" .template) | fromYaml -}}
{{- $_ := set $object.metadata "name" (print .prefix .template) -}}
{{- $_ := mergeOverwrite $object.metadata (deepCopy (default dict .metadata)) -}}
{{- range $object.spec.args -}}
{{- if hasKey $args .name -}}
{{- $value := get $args .name -}}
{{- /* As JSON, since a large number would be written with an exponent. */ -}}
{{- $_ := set . "value" (ternary $value (toJson $value) (kindIs "string" $value)) -}}
{{- end -}}
{{- end -}}
{{- if eq .template "error-budget-burn" -}}
{{- include "serin-analysis.can-burn" $object.spec.args -}}
{{- end -}}
{{- range $object.spec.metrics -}}
{{- $_ := mergeOverwrite . (deepCopy (get $metrics .name | default dict)) -}}
{{- end -}}
{{ toYaml $object }}
{{- end -}}

{{/* A version whose every request fails must be able to exceed the limit. */}}
{{- define "serin-analysis.can-burn" -}}
{{- $args := dict -}}
{{- range . -}}
{{- $_ := set $args .name (get . "value") -}}
{{- end -}}
{{- $fastest := divf 1 (subf 1 (get $args "objective")) -}}
{{- if ge (get $args "max-burn-rate" | float64) $fastest -}}
{{- fail (printf "serin-analysis.args.max-burn-rate: with an objective of %s nothing burns faster than %.1f, so that %s is never exceeded: choose a lower one, or success-rate" (get $args "objective") $fastest (get $args "max-burn-rate")) -}}
{{- end -}}
{{- end -}}

{{/* One by one, for Rollouts that a chart writes itself: {{ include "serin-analysis.success-rate" . }} */}}
{{- define "serin-analysis.success-rate" -}}
{{ include "serin-analysis.alone" (dict "root" . "template" "success-rate") }}
{{- end -}}

{{- define "serin-analysis.error-budget-burn" -}}
{{ include "serin-analysis.alone" (dict "root" . "template" "error-budget-burn") }}
{{- end -}}

{{- define "serin-analysis.latency-quantile" -}}
{{ include "serin-analysis.alone" (dict "root" . "template" "latency-quantile") }}
{{- end -}}

{{- define "serin-analysis.saturation" -}}
{{ include "serin-analysis.alone" (dict "root" . "template" "saturation") }}
{{- end -}}

{{- define "serin-analysis.queue-backlog" -}}
{{ include "serin-analysis.alone" (dict "root" . "template" "queue-backlog") }}
{{- end -}}

{{- define "serin-analysis.restarts" -}}
{{ include "serin-analysis.alone" (dict "root" . "template" "restarts") }}
{{- end -}}

{{- define "serin-analysis.alone" -}}
{{- $values := get .root.Values "serin-analysis" | default dict -}}
{{ include "serin-analysis.template" (dict "root" .root "template" .template "prefix" (default "" $values.namePrefix)) }}
{{- end -}}
