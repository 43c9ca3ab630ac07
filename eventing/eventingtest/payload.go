// Package eventingtest compares the payloads of events with what is written down of them: an event of each type in
// testdata/TYPE.json, and the JSON Schema of its data in schema/TYPE.json. It is for tests of the packages that declare
// payloads.
package eventingtest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/soundstrip/soundstrip/eventing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Payload compares the event that carries p with its golden file, and its data with the schema.
func Payload(t *testing.T, p eventing.Payload) {
	t.Helper()
	e, err := eventing.New("/soundstrip/test", "65f0a1b2c3d4e5f601234567", 2, p)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(e, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	golden := filepath.Join("testdata", p.Type()+".json")
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("event %s (-want +got), to be taken over with -update:\n%s", p.Type(), diff)
	}
	if err := Schema(t, p.Type(), e.Data()); err != nil {
		t.Errorf("data of event %s against its schema: %v", p.Type(), err)
	}
}

// Schema reports what the schema of an event's type has against data.
func Schema(t *testing.T, eventType string, data []byte) error {
	t.Helper()
	schema, err := jsonschema.NewCompiler().Compile(filepath.Join("schema", eventType+".json"))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(v)
}
