package job

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// A function of an older version must not drop what a newer one wrote; what only older ones wrote goes.
func TestRecordOfOtherVersions(t *testing.T) {
	t.Parallel()
	for name, codec := range map[string]struct {
		marshal   func(any) ([]byte, error)
		unmarshal func([]byte, any) error
	}{
		"BSON": {bson.Marshal, bson.Unmarshal},
		"JSON": {
			func(v any) ([]byte, error) { return bson.MarshalExtJSON(v, false, false) },
			func(b []byte, v any) error { return bson.UnmarshalExtJSON(b, false, v) },
		},
	} {
		raw, err := codec.marshal(bson.M{"_id": "1", "owner": "ann", "state": Stored, "rev": 3, "now": time.Now(),
			"colour": "blue",
			"split":  bson.M{"length": 490, "gain": -1.5, "segments": bson.A{bson.M{"fid": "2", "lease": bson.M{"epoch": 1}}}}})
		if err != nil {
			t.Fatal(err)
		}
		var r record
		if err := codec.unmarshal(raw, &r); err != nil {
			t.Fatal(err)
		}
		r.Version.Now = time.Time{}
		if err := r.apply(func(r *record, _ time.Time) error { r.State = Queued; return nil }, time.Now()); err != nil {
			t.Fatal(err)
		}
		if raw, err = codec.marshal(r); err != nil {
			t.Fatal(err)
		}
		var got bson.M
		if err := codec.unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		_, now := got["now"]
		_, split := got["split"]
		if got["colour"] != "blue" || got["state"] != "queued" || got["owner"] != "ann" || now || split {
			t.Errorf("%s: the changed record is %v, want it with its colour and without now and split", name, got)
		}
	}
}
