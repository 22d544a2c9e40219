// Generates what the hashes of pod templates and of steps are made of and checked against: from the Go types of
// Kubernetes themselves, and from those in steps.go.
//
//	go run . fields      > ../../src/rollout/pod_hash/pod_fields.rs
//	go run . step-fields > ../../src/rollout/pod_hash/step_fields.rs
//	go run . vectors     > vectors.json
//	go run . json        < template.json    prints the text that Go hashes
//	go run . steps-json  < steps.json       likewise
package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

func main() {
	command := ""
	if len(os.Args) == 2 {
		command = os.Args[1]
	}
	switch command {
	case "fields":
		fmt.Print(podFieldTables())
	case "step-fields":
		fmt.Print(stepFieldTables())
	case "vectors":
		fmt.Print(vectors())
	case "json":
		printAgain(goJSON)
	case "steps-json":
		printAgain(stepsJSON)
	default:
		fmt.Fprintln(os.Stderr, "usage: go run . fields|step-fields|vectors|json|steps-json")
		os.Exit(2)
	}
}

// printAgain prints what a function writes for the standard input.
func printAgain(write func([]byte) ([]byte, error)) {
	input, err := io.ReadAll(os.Stdin)
	check(err)
	text, err := write(input)
	check(err)
	fmt.Printf("%s\n", text)
}

// goJSON decodes a pod template and writes it again.
func goJSON(template []byte) ([]byte, error) {
	var decoded corev1.PodTemplateSpec
	if err := json.Unmarshal(template, &decoded); err != nil {
		return nil, err
	}
	return json.Marshal(decoded)
}

// podTemplateHash hashes the written template and the collision count, if there is one.
func podTemplateHash(template []byte, collisionCount *int32) (string, error) {
	text, err := goJSON(template)
	if err != nil {
		return "", err
	}
	return spelled(text, collisionCount), nil
}

// spelled hashes a text and the collision count, if there is one.
func spelled(text []byte, collisionCount *int32) string {
	hash := fnv.New32a()
	hash.Write(text)
	if collisionCount != nil {
		count := make([]byte, 8)
		binary.LittleEndian.PutUint32(count, uint32(*collisionCount))
		hash.Write(count)
	}
	return rand.SafeEncodeString(fmt.Sprint(hash.Sum32()))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
