package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The structs of a canary step, as far as their JSON goes: names, order, and what is left out. The facts are those of
// Argo Rollouts 1.9 and 1.10, which agree. Up to 1.8, analysisStep held its metadata by value and clusterScope was no
// pointer; hashes of that time differ for the pod template too.
type (
	canaryStep struct {
		SetWeight      *int32          `json:"setWeight,omitempty"`
		Pause          *pause          `json:"pause,omitempty"`
		Experiment     *experiment     `json:"experiment,omitempty"`
		Analysis       *analysis       `json:"analysis,omitempty"`
		SetCanaryScale *setCanaryScale `json:"setCanaryScale,omitempty"`
		SetHeaderRoute *setHeaderRoute `json:"setHeaderRoute,omitempty"`
		SetMirrorRoute *setMirrorRoute `json:"setMirrorRoute,omitempty"`
		Plugin         *plugin         `json:"plugin,omitempty"`
	}

	pause struct {
		Duration *intstr.IntOrString `json:"duration,omitempty"`
	}

	setCanaryScale struct {
		Weight             *int32 `json:"weight,omitempty"`
		Replicas           *int32 `json:"replicas,omitempty"`
		MatchTrafficWeight bool   `json:"matchTrafficWeight,omitempty"`
	}

	setHeaderRoute struct {
		Name  string        `json:"name,omitempty"`
		Match []headerMatch `json:"match,omitempty"`
	}
	headerMatch struct {
		HeaderName  string       `json:"headerName"`
		HeaderValue *stringMatch `json:"headerValue"`
	}
	stringMatch struct {
		Exact  string `json:"exact,omitempty"`
		Prefix string `json:"prefix,omitempty"`
		Regex  string `json:"regex,omitempty"`
	}

	setMirrorRoute struct {
		Name       string       `json:"name"`
		Match      []routeMatch `json:"match,omitempty"`
		Percentage *int32       `json:"percentage,omitempty"`
	}
	routeMatch struct {
		Method  *stringMatch           `json:"method,omitempty"`
		Path    *stringMatch           `json:"path,omitempty"`
		Headers map[string]stringMatch `json:"headers,omitempty"`
	}

	analysis struct {
		Templates            []analysisTemplate `json:"templates,omitempty"`
		Args                 []argument         `json:"args,omitempty"`
		DryRun               []metricName       `json:"dryRun,omitempty"`
		MeasurementRetention []retention        `json:"measurementRetention,omitempty"`
		AnalysisRunMetadata  *metadata          `json:"analysisRunMetadata,omitempty"`
	}
	analysisTemplate struct {
		TemplateName string `json:"templateName"`
		ClusterScope *bool  `json:"clusterScope,omitempty"`
	}
	argument struct {
		Name      string          `json:"name"`
		Value     string          `json:"value,omitempty"`
		ValueFrom *argumentSource `json:"valueFrom,omitempty"`
	}
	argumentSource struct {
		PodTemplateHashValue *string  `json:"podTemplateHashValue,omitempty"`
		FieldRef             *pathRef `json:"fieldRef,omitempty"`
	}
	pathRef struct {
		FieldPath string `json:"fieldPath"`
	}
	metricName struct {
		MetricName string `json:"metricName"`
	}
	retention struct {
		MetricName string `json:"metricName"`
		Limit      int32  `json:"limit"`
	}
	metadata struct {
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}

	experiment struct {
		Templates             []experimentTemplate `json:"templates"`
		Duration              string               `json:"duration,omitempty"`
		Analyses              []experimentAnalysis `json:"analyses,omitempty"`
		DryRun                []metricName         `json:"dryRun,omitempty"`
		AnalysisRunMetadata   metadata             `json:"analysisRunMetadata,omitempty"`
		ScaleDownDelaySeconds *int32               `json:"scaleDownDelaySeconds,omitempty"`
	}
	experimentTemplate struct {
		Name     string                `json:"name"`
		SpecRef  string                `json:"specRef"`
		Replicas *int32                `json:"replicas,omitempty"`
		Metadata metadata              `json:"metadata,omitempty"`
		Selector *metav1.LabelSelector `json:"selector,omitempty"`
		Weight   *int32                `json:"weight,omitempty"`
		Service  *experimentService    `json:"service,omitempty"`
	}
	experimentService struct {
		Name string `json:"name,omitempty"`
	}
	experimentAnalysis struct {
		Name                  string     `json:"name"`
		TemplateName          string     `json:"templateName"`
		ClusterScope          *bool      `json:"clusterScope,omitempty"`
		Args                  []argument `json:"args,omitempty"`
		RequiredForCompletion bool       `json:"requiredForCompletion,omitempty"`
	}

	plugin struct {
		Name   string          `json:"name"`
		Config json.RawMessage `json:"config,omitempty"`
	}
)

// stepsVector is a list of steps with its hash.
type stepsVector struct {
	Name  string          `json:"name"`
	Hash  string          `json:"hash"`
	Steps json.RawMessage `json:"steps"`
}

// stepsJSON decodes steps and writes them again.
func stepsJSON(steps []byte) ([]byte, error) {
	var decoded []canaryStep
	if err := json.Unmarshal(steps, &decoded); err != nil {
		return nil, err
	}
	return json.Marshal(decoded)
}

// newStepsVector hashes steps in the form in which the API server stores them.
func newStepsVector(name string, steps any) stepsVector {
	stored := asStored(steps)
	text, err := stepsJSON(stored)
	if err != nil {
		panic(fmt.Sprintf("%s: %s", name, err))
	}
	return stepsVector{name, spelled(text, nil), stored}
}

// stepsVectors are steps as users write them, every struct of a step in four states, and steps that nobody thought of.
func stepsVectors() []stepsVector {
	var result []stepsVector
	hashes := map[string]bool{}
	add := func(v stepsVector) {
		if !hashes[v.Hash] {
			result = append(result, v)
		}
		hashes[v.Hash] = true
	}
	for _, c := range writtenSteps {
		result = append(result, newStepsVector(c[0], c[1]))
	}
	root := reflect.TypeFor[canaryStep]()
	for _, t := range structTypes(root) {
		for _, state := range states {
			add(newStepsVector(t.Name()+" "+state, []any{wrapped(t, root, content(t, state))}))
		}
	}
	source := rand.New(rand.NewPCG(2026, 35))
	for i := range 60 {
		steps := []any{}
		for range 1 + source.IntN(4) {
			steps = append(steps, randomStep(source))
		}
		add(newStepsVector(fmt.Sprintf("random %d", i), steps))
	}
	return result
}

// randomStep is one step with one field.
func randomStep(source *rand.Rand) object {
	f := oneOf(source, structFields(reflect.TypeFor[canaryStep]()))
	return object{f.name: randomValue(source, f.goType, 1)}
}

// writtenSteps are steps as users write them, then one oddity each.
var writtenSteps = [][2]string{
	{"no list", `null`},
	{"empty list", `[]`},
	{"weights and pauses", `[{"setWeight":0},{"setWeight":5},{"pause":{}},{"setWeight":100},{"pause":{"duration":60}},{"pause":{"duration":"1h30m"}},{"pause":{"duration":"60"}}]`},
	{"pause of nothing", `[{"pause":{"duration":0}},{"pause":{"duration":""}},{"pause":{"duration":null}},{"pause":null}]`},
	{"pause as a float", `[{"pause":{"duration":30.0}}]`},
	{"analysis of one template", `[{"setWeight":20},{"analysis":{"templates":[{"templateName":"success-rate"}]}}]`},
	{"analysis with arguments", `[{"analysis":{"templates":[{"templateName":"success-rate"},{"templateName":"latency","clusterScope":true}],"args":[{"name":"service-name","value":"guestbook-svc.default.svc.cluster.local"},{"name":"stable-hash","valueFrom":{"podTemplateHashValue":"Stable"}},{"name":"latest-hash","valueFrom":{"podTemplateHashValue":"Latest"}},{"name":"region","valueFrom":{"fieldRef":{"fieldPath":"metadata.labels['region']"}}}]}}]`},
	{"analysis with everything", `[{"analysis":{"templates":[{"clusterScope":true,"templateName":"t"}],"args":[{"name":"a","value":"1"}],"dryRun":[{"metricName":".*"}],"measurementRetention":[{"metricName":"m.*","limit":20}],"analysisRunMetadata":{"labels":{"b":"2","a":"1"},"annotations":{"team":"shop"}}}}]`},
	{"analysis with empty parts", `[{"analysis":{}},{"analysis":{"templates":[],"args":[],"dryRun":[],"measurementRetention":[],"analysisRunMetadata":{}}},{"analysis":{"analysisRunMetadata":{"labels":{},"annotations":null}}}]`},
	{"analysis of a namespaced template said aloud", `[{"analysis":{"templates":[{"templateName":"t","clusterScope":false}]}}]`},
	{"analysis without a template's name", `[{"analysis":{"templates":[{},{"clusterScope":true},{"templateName":""}]}}]`},
	{"argument of nothing", `[{"analysis":{"args":[{"name":"a","value":""},{"name":"b"},{"name":"c","value":null,"valueFrom":{}},{"value":"d"}]}}]`},
	{"HTML in arguments", `[{"analysis":{"args":[{"name":"q","value":"sum(rate(x{code=~\"5..\"}[1m])) < 0.05 && up > 0"},{"name":"<b>","value":"a&amp;b \u2028\u2029 \\ \" \u0001"}],"analysisRunMetadata":{"annotations":{"<&>":"<&>"}}}}]`},
	{"experiment of two templates", `[{"experiment":{"duration":"1h","templates":[{"name":"baseline","specRef":"stable"},{"name":"canary","specRef":"canary","weight":10,"replicas":1}],"analyses":[{"name":"compare","templateName":"compare","args":[{"name":"hash","value":"{{templates.canary.podTemplateHash}}"}]}]}}]`},
	{"experiment with everything", `[{"experiment":{"templates":[{"name":"e","specRef":"canary","replicas":0,"metadata":{"labels":{"b":"2","a":"1"},"annotations":{"x":"<y>"}},"selector":{"matchLabels":{"app":"e"},"matchExpressions":[{"key":"k","operator":"In","values":["b","a"]},{"key":"l","operator":"Exists"}]},"weight":0,"service":{"name":"svc"}}],"duration":"5m","analyses":[{"name":"a","templateName":"t","clusterScope":true,"args":[{"name":"n","value":"<v>"}],"requiredForCompletion":true}],"dryRun":[{"metricName":"m"}],"analysisRunMetadata":{"labels":{"l":"1"}},"scaleDownDelaySeconds":0}}]`},
	{"experiment with empty parts", `[{"experiment":{}},{"experiment":{"templates":null,"analysisRunMetadata":null}},{"experiment":{"templates":[],"duration":"","analyses":[],"dryRun":[]}},{"experiment":{"templates":[{"metadata":null,"selector":{},"service":{}},{"metadata":{"labels":{}}}],"analyses":[{"clusterScope":false,"requiredForCompletion":false}]}}]`},
	{"canary scale", `[{"setCanaryScale":{"weight":25}},{"setCanaryScale":{"replicas":3}},{"setCanaryScale":{"matchTrafficWeight":true}}]`},
	{"canary scale of nothing", `[{"setCanaryScale":{}},{"setCanaryScale":{"weight":0,"replicas":0,"matchTrafficWeight":false}},{"setCanaryScale":{"weight":null,"matchTrafficWeight":null}}]`},
	{"header route", `[{"setHeaderRoute":{"name":"canary-header","match":[{"headerName":"X-Canary","headerValue":{"exact":"yes"}},{"headerName":"User-Agent","headerValue":{"regex":".*<Chrome>.*"}},{"headerName":"p","headerValue":{"prefix":"a&b"}}]}},{"setHeaderRoute":{"name":"canary-header"}}]`},
	{"header route with empty parts", `[{"setHeaderRoute":{}},{"setHeaderRoute":{"name":"","match":[]}},{"setHeaderRoute":{"name":"h","match":[{},{"headerName":"n"},{"headerValue":{}},{"headerValue":null}]}}]`},
	{"mirror route", `[{"setMirrorRoute":{"name":"mirror","percentage":35,"match":[{"method":{"exact":"GET"},"path":{"prefix":"/api"},"headers":{"b":{"regex":"<.*>"},"a":{"exact":"1"}}}]}},{"setMirrorRoute":{"name":"mirror"}}]`},
	{"mirror route with empty parts", `[{"setMirrorRoute":{}},{"setMirrorRoute":{"name":"m","percentage":0,"match":[]}},{"setMirrorRoute":{"name":"m","percentage":null,"match":[{},{"method":{},"path":{},"headers":{}},{"headers":{"a":{}}}]}}]`},
	{"plugin", `[{"plugin":{"name":"org/gate","config":{"window":{"to":"17:00","from":"09:00"},"list":[1,2.5,1e21,true,null,"<&>"],"a":null}}}]`},
	{"plugin without configuration", `[{"plugin":{"name":"org/gate"}},{"plugin":{}},{"plugin":{"name":"p","config":{}}},{"plugin":{"name":"p","config":[]}}]`},
	{"several fields in one step", `[{"plugin":{"name":"p"},"setMirrorRoute":{"name":"m"},"setHeaderRoute":{"name":"h"},"setCanaryScale":{"weight":1},"analysis":{},"experiment":{"templates":[]},"pause":{},"setWeight":1}]`},
	{"steps of nothing", `[{},{"setWeight":null},null,{"unknown":1},{"pause":{"unknown":1}}]`},
}
