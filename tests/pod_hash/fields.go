package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// lineWidth is where the generated tables wrap.
const lineWidth = 118

// leaves are the types that write themselves.
var leaves = map[reflect.Type]string{
	reflect.TypeFor[resource.Quantity]():  "Quantity",
	reflect.TypeFor[intstr.IntOrString](): "IntOrString",
	reflect.TypeFor[metav1.Time]():        "Time",
	reflect.TypeFor[metav1.FieldsV1]():    "Raw",
	reflect.TypeFor[json.RawMessage]():    "Raw",
}

// field is one JSON field of a struct, embedded structs flattened.
type field struct {
	name     string
	goType   reflect.Type
	presence string
}

// structFields lists the fields in the order in which encoding/json writes them.
func structFields(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			fields = append(fields, structFields(f.Type)...)
			continue
		}
		if name == "" || name == "-" || !f.IsExported() {
			panic(fmt.Sprintf("%s.%s: no JSON name", t, f.Name))
		}
		fields = append(fields, field{name, f.Type, presence(f.Type, strings.Split(options, ","))})
	}
	return fields
}

// presence says when a field is written, in the notation of src/rollout/pod_hash/layout.rs.
func presence(t reflect.Type, options []string) string {
	has := func(option string) bool {
		for _, o := range options {
			if o == option {
				return true
			}
		}
		return false
	}
	omitted := has("omitempty")
	if has("omitzero") {
		if t != reflect.TypeFor[metav1.Time]() {
			panic(fmt.Sprintf("%s: omitzero is only known for times", t))
		}
		return "?"
	}
	switch t.Kind() {
	case reflect.Pointer:
		if omitted {
			return "*"
		}
		return "~"
	case reflect.Struct:
		return "!"
	default:
		if omitted {
			return "?"
		}
		return "!"
	}
}

// kind names a type in the same notation.
func kind(t reflect.Type) string {
	if leaf, ok := leaves[t]; ok {
		return leaf
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Slice:
		return "[" + elementKind(t.Elem()) + "]"
	case reflect.Map:
		if t.Key().Kind() != reflect.String {
			panic(fmt.Sprintf("%s: keys are no strings", t))
		}
		return "{" + elementKind(t.Elem()) + "}"
	case reflect.Struct:
		if _, ok := t.MethodByName("MarshalJSON"); ok {
			panic(fmt.Sprintf("%s writes itself in an unknown way", t))
		}
		return layoutName(t)
	case reflect.String:
		return "Text"
	case reflect.Bool:
		return "Bool"
	case reflect.Int32, reflect.Int64:
		return "Int"
	default:
		panic(fmt.Sprintf("%s: unknown kind", t))
	}
}

// elementKind is kind for elements, among which nil pointers and bytes are not provided for.
func elementKind(t reflect.Type) string {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Uint8 {
		panic(fmt.Sprintf("%s: unknown element", t))
	}
	return kind(t)
}

// layoutName turns PodTemplateSpec and podTemplateSpec into POD_TEMPLATE_SPEC and HTTPGetAction into HTTP_GET_ACTION.
func layoutName(t reflect.Type) string {
	runes := []rune(t.Name())
	var name strings.Builder
	for i, r := range runes {
		upper := unicode.IsUpper(r)
		startsWord := i > 0 && upper && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			name.WriteByte('_')
		}
		name.WriteRune(unicode.ToUpper(r))
	}
	return name.String()
}

// structTypes lists the structs that a type is made of, in order of first mention.
func structTypes(root reflect.Type) []reflect.Type {
	var types []reflect.Type
	seen := map[reflect.Type]bool{}
	names := map[string]reflect.Type{}
	var visit func(t reflect.Type)
	visit = func(t reflect.Type) {
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(t.Elem())
			return
		case reflect.Struct:
		default:
			return
		}
		if _, leaf := leaves[t]; leaf || seen[t] {
			return
		}
		seen[t] = true
		if other, taken := names[layoutName(t)]; taken {
			panic(fmt.Sprintf("%s and %s have the same name", t, other))
		}
		names[layoutName(t)] = t
		types = append(types, t)
		for _, f := range structFields(t) {
			visit(f.goType)
		}
	}
	visit(root)
	return types
}

// podFieldTables is the text of src/rollout/pod_hash/pod_fields.rs.
func podFieldTables() string {
	return fieldTables(reflect.TypeFor[corev1.PodTemplateSpec](), `//! The layouts of a pod template and all that it contains, in the notation of 'super::layout'.
//!
//! Generated from the Go types of k8s.io/api v0.34. After an update of 'tests/pod_hash/go.mod', write it anew there
//! with 'go run . fields > ../../src/rollout/pod_hash/pod_fields.rs'.
`)
}

// stepFieldTables is the text of src/rollout/pod_hash/step_fields.rs.
func stepFieldTables() string {
	return fieldTables(reflect.TypeFor[canaryStep](), `//! The layouts of a canary step and all that it contains, in the notation of 'super::layout'.
//!
//! Generated from the structs in 'tests/pod_hash/steps.go', which says where their facts come from. After a change
//! there, write it anew with 'go run . step-fields > ../../src/rollout/pod_hash/step_fields.rs'.
`)
}

func fieldTables(root reflect.Type, doc string) string {
	var out strings.Builder
	out.WriteString(strings.ReplaceAll(doc, "'", "`"))
	out.WriteString("\nuse super::layout::{Field, Kind, Layout, Presence, layouts};\n\nlayouts! {\n")
	for _, t := range structTypes(root) {
		line := "    " + layoutName(t) + " {"
		fields := structFields(t)
		for i, f := range fields {
			item := " " + f.name + ": " + kind(f.goType) + f.presence
			if i < len(fields)-1 {
				item += ","
			}
			if len(line)+len(item) > lineWidth {
				out.WriteString(line + "\n")
				line = "       "
			}
			line += item
		}
		out.WriteString(line + " }\n")
	}
	out.WriteString("}\n")
	return out.String()
}
