package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	utiljson "k8s.io/apimachinery/pkg/util/json"
)

// object is a JSON object.
type object = map[string]any

// vector is a pod template with its hash.
type vector struct {
	Name           string          `json:"name"`
	CollisionCount *int32          `json:"collisionCount,omitempty"`
	Hash           string          `json:"hash"`
	Template       json.RawMessage `json:"template"`
}

// vectors is the text of vectors.json: templates and steps with their hashes, quantities with their canonical form.
func vectors() string {
	var templates []vector
	for _, c := range writtenCases() {
		templates = append(templates, newVector(c.name, c.template, c.collisionCount))
	}
	templates = append(templates, structVectors()...)
	templates = append(templates, randomVectors()...)

	var out strings.Builder
	out.WriteString("{\n\"templates\": [\n")
	writeLines(&out, templates)
	out.WriteString("],\n\"steps\": [\n")
	writeLines(&out, stepsVectors())
	out.WriteString("],\n\"quantities\": [\n")
	writeLines(&out, quantityRows())
	out.WriteString("]\n}\n")
	return out.String()
}

// writeLines writes each item as a line of JSON.
func writeLines[T any](out *strings.Builder, items []T) {
	for i, item := range items {
		out.WriteString(compact(item) + separator(i, len(items)))
	}
}

// newVector hashes a template in the form in which the API server stores it.
func newVector(name string, template any, collisionCount *int32) vector {
	stored := asStored(template)
	hash, err := podTemplateHash(stored, collisionCount)
	if err != nil {
		panic(fmt.Sprintf("%s: %s", name, err))
	}
	return vector{name, collisionCount, hash, stored}
}

// asStored rewrites JSON as the API server does with a custom resource: keys sorted, numbers in Go's form.
func asStored(template any) []byte {
	text, ok := template.(string)
	if !ok {
		text = compact(template)
	}
	var decoded any
	check(utiljson.Unmarshal([]byte(text), &decoded))
	return []byte(compact(decoded))
}

// states are what all the fields of a struct can be at once: something, their zero value, null, a container of nulls.
var states = []string{"filled", "zero", "null", "hollow"}

// structVectors exercises every struct that a pod template contains with all of its fields in four states.
func structVectors() []vector {
	var result []vector
	hashes := map[string]bool{}
	root := reflect.TypeFor[corev1.PodTemplateSpec]()
	for _, t := range structTypes(root) {
		for _, state := range states {
			v := newVector(t.Name()+" "+state, wrapped(t, root, content(t, state)), nil)
			if !hashes[v.Hash] {
				result = append(result, v)
			}
			hashes[v.Hash] = true
		}
	}
	return result
}

// content is an object with all fields of a struct in one state.
func content(t reflect.Type, state string) object {
	content := object{}
	for _, f := range structFields(t) {
		content[f.name] = sample(f, state)
	}
	return content
}

// sample is a value for a field: something, its zero value, null, or a container of nulls.
func sample(f field, state string) any {
	if state == "null" {
		return nil
	}
	k := kind(f.goType)
	filled := state == "filled"
	pick := func(some, zero any) any {
		if filled {
			return some
		}
		return zero
	}
	switch {
	case strings.HasPrefix(k, "["):
		if state == "hollow" {
			return []any{nil}
		}
		return pick([]any{element(f.goType, "b"), element(f.goType, "a")}, []any{})
	case strings.HasPrefix(k, "{"):
		if state == "hollow" {
			return object{"k": nil}
		}
		return pick(object{"b": element(f.goType, "b"), "B": element(f.goType, "a"), "a-1": element(f.goType, "c")}, object{})
	case state == "hollow" && k == "IntOrString":
		return ""
	}
	switch k {
	case "Text":
		return pick(f.name+" of <a> & \"b\"", "")
	case "Bool":
		return filled
	case "Int":
		return pick(7, 0)
	case "Quantity":
		return pick("1500m", "0")
	case "IntOrString":
		return pick("http", 0)
	case "Time":
		return pick("2024-02-29T23:59:59.75+02:00", nil)
	default:
		return pick(object{"unknown": 1}, object{})
	}
}

// element is a sample for the elements of a list or map.
func element(t reflect.Type, text string) any {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch kind(t.Elem()) {
	case "Text":
		return text
	case "Int":
		return 137
	case "Quantity":
		return "0.5"
	default:
		return object{}
	}
}

// wrapped puts the content of a struct into one of type root at the first place where the struct occurs.
func wrapped(target, root reflect.Type, content any) any {
	path, ok := pathTo(target, root, map[reflect.Type]bool{})
	if !ok {
		panic(fmt.Sprintf("%s is not in %s", target, root))
	}
	for i := len(path) - 1; i >= 0; i-- {
		switch path[i] {
		case "[]":
			content = []any{content}
		case "{}":
			content = object{"k": content}
		default:
			content = object{path[i]: content}
		}
	}
	return content
}

// pathTo finds the fields, lists and maps that lead from one type to another.
func pathTo(target, from reflect.Type, seen map[reflect.Type]bool) ([]string, bool) {
	switch from.Kind() {
	case reflect.Pointer:
		return pathTo(target, from.Elem(), seen)
	case reflect.Slice:
		path, ok := pathTo(target, from.Elem(), seen)
		return append([]string{"[]"}, path...), ok
	case reflect.Map:
		path, ok := pathTo(target, from.Elem(), seen)
		return append([]string{"{}"}, path...), ok
	case reflect.Struct:
	default:
		return nil, false
	}
	if from == target {
		return nil, true
	}
	if _, leaf := leaves[from]; leaf || seen[from] {
		return nil, false
	}
	seen[from] = true
	for _, f := range structFields(from) {
		if path, ok := pathTo(target, f.goType, seen); ok {
			return append([]string{f.name}, path...), true
		}
	}
	return nil, false
}

// randomVectors are templates that nobody thought of; the seed is fixed, so that they stay the same.
func randomVectors() []vector {
	var result []vector
	source := rand.New(rand.NewPCG(2026, 34))
	for i := range 80 {
		template := randomValue(source, reflect.TypeFor[corev1.PodTemplateSpec](), 0)
		result = append(result, newVector(fmt.Sprintf("random %d", i), template, nil))
	}
	return result
}

var (
	randomTexts = []string{"", "a", "app:v1", "<&>", "\u2028 and \u2029", "é世界🐤", "tab\tline\nquote\"slash\\/", "\x00\x01\b\f\r\x1f\x7f", "true", "null", "0"}
	randomKeys  = []string{"a", "B", "app.kubernetes.io/name", "<k>", "é", "z", "cpu", "memory", "nvidia.com/gpu", "😀", "\ufffd"}
	randomTimes = []any{nil, "2024-01-01T00:00:00Z", "1999-12-31T23:59:59.999999999-11:30", "0001-01-01T00:00:00Z", "2026-11-21T08:20:05+05:45"}
	randomPorts = []any{nil, 80, "http", "8080", 0, "", -1}
	randomRaw   = []any{object{"f:b": object{}, "f:a": object{".": object{}}}, object{"<": []any{1, 2.5, 1e21, 1e-7, true, nil, "&"}}}
)

// randomValue makes a value for a type; the deeper, the more often it is left out.
func randomValue(source *rand.Rand, t reflect.Type, depth int) any {
	if t.Kind() == reflect.Pointer {
		return randomValue(source, t.Elem(), depth)
	}
	count := source.IntN(3)
	switch k := kind(t); k {
	case "Text":
		return oneOf(source, randomTexts)
	case "Bool":
		return source.IntN(2) == 0
	case "Int":
		return oneOf(source, []int64{0, 1, -1, 30, 2147483647})
	case "Quantity":
		return oneOf(source, []any{nil, "1", "1000m", "0.5", "1024Mi", "100Mi", "1e3", "1.5Gi", 2, 0.25, 1000, "0"})
	case "IntOrString":
		return oneOf(source, randomPorts)
	case "Time":
		return oneOf(source, randomTimes)
	case "Raw":
		return oneOf(source, randomRaw)
	default:
		switch k[0] {
		case '[':
			items := []any{}
			for range count {
				items = append(items, randomValue(source, t.Elem(), depth+1))
			}
			return items
		case '{':
			entries := object{}
			for range count {
				entries[oneOf(source, randomKeys)] = randomValue(source, t.Elem(), depth+1)
			}
			return entries
		}
	}
	fields := structFields(t)
	content := object{}
	for _, f := range fields {
		wanted := depth == 0 || source.IntN(len(fields)+4*depth) < 4
		if wanted && source.IntN(12) == 0 {
			content[f.name] = nil
		} else if wanted {
			content[f.name] = randomValue(source, f.goType, depth+1)
		}
	}
	return content
}

func oneOf[T any](source *rand.Rand, values []T) T {
	return values[source.IntN(len(values))]
}

// quantityRows pairs texts with the canonical form that Kubernetes gives them, null when it refuses them. One row
// per number, one pair per suffix.
func quantityRows() [][][2]any {
	numbers := []string{
		"", "0", "00", "-0", "1", "8", "10", "100", "1000", "1023", "1024", "1536", "2000", "4096", "123456", "0.5", "0.500", "1.5", "1.50",
		"1.500", "1.0", "1.024", "0.001", "0.0001", "12.345678", "0100", "007", "+1", "-1", "-1024", "-1.5", "-0.3", ".5", "5.", ".", "-", "+",
		"+0.25", "99999999999", "123456789012", "999999999999999999", "1000000000000000000", "1234567890123456789",
		"9223372036854775807", "9223372036854775808", "-9223372036854775809", "123456789012345678901234567890",
		"0.0000000001", "0.000000001", "1.0000000001", "9.9999999999", "12345.678901234", "1e", "1 ", "--1", "1_0", "0x1", "1,5", "١", "1.2.3",
	}
	suffixes := []string{
		"", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
		"e0", "e1", "e2", "e3", "E3", "e-3", "e+6", "e-9", "e-12", "e18", "e21", "e", "K", "ki", "mm", "MB", "m3", "e3x", "Ki1", "µ", "i",
	}
	var rows [][][2]any
	for _, number := range numbers {
		var row [][2]any
		for _, suffix := range suffixes {
			text := number + suffix
			quantity, err := resource.ParseQuantity(text)
			if err != nil {
				row = append(row, [2]any{text, nil})
				continue
			}
			written, err := quantity.MarshalJSON()
			check(err)
			row = append(row, [2]any{text, json.RawMessage(written)})
		}
		rows = append(rows, row)
	}
	return rows
}

// compact writes JSON on one line, without escapes that JSON does not need.
func compact(value any) string {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	check(encoder.Encode(value))
	return strings.TrimSuffix(out.String(), "\n")
}

func separator(index, length int) string {
	if index == length-1 {
		return "\n"
	}
	return ",\n"
}
