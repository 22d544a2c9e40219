// Generates what the pod template hash is made of and checked against, from the Go types of Kubernetes themselves.
//
//	go run . fields  > ../../src/rollout/pod_hash/pod_fields.rs
//	go run . vectors > vectors.json
//	go run . json    < template.json    prints the text that Go hashes
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
		fmt.Print(fieldTables())
	case "vectors":
		fmt.Print(vectors())
	case "json":
		input, err := io.ReadAll(os.Stdin)
		check(err)
		text, err := goJSON(input)
		check(err)
		fmt.Printf("%s\n", text)
	default:
		fmt.Fprintln(os.Stderr, "usage: go run . fields|vectors|json")
		os.Exit(2)
	}
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
	hash := fnv.New32a()
	hash.Write(text)
	if collisionCount != nil {
		count := make([]byte, 8)
		binary.LittleEndian.PutUint32(count, uint32(*collisionCount))
		hash.Write(count)
	}
	return rand.SafeEncodeString(fmt.Sprint(hash.Sum32())), nil
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
