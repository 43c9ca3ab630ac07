package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"sigs.k8s.io/yaml"
)

// rights are what functions do in MongoDB: "soundstrip.jobs find", by function.
type rights struct {
	mu    sync.Mutex
	used  map[string]map[string]bool
	names map[string]string // of databases, as config/ has them
}

// watch gives the address of a proxy in front of MongoDB that notes what a function does there.
func (r *rights) watch(t *testing.T, function, uri string) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(ctx(t), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := u.Host
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.forward(function, client, target) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	u.Host = l.Addr().String()
	return u.String()
}

func (r *rights) forward(function string, client net.Conn, target string) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", target)
	if err != nil {
		return
	}
	defer server.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
	defer server.Close()
	in := bufio.NewReader(client)
	for {
		head, err := in.Peek(4)
		if err != nil {
			return
		}
		m := make([]byte, binary.LittleEndian.Uint32(head))
		if _, err := io.ReadFull(in, m); err != nil {
			return
		}
		r.note(function, m)
		if _, err := server.Write(m); err != nil {
			return
		}
	}
}

// note reads a message of the server's protocol: a command, and lists of documents that belong to it.
// https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg
func (r *rights) note(function string, m []byte) {
	const opMsg, header, flags = 2013, 16, 4
	if len(m) < header+flags || binary.LittleEndian.Uint32(m[12:]) != opMsg {
		return
	}
	var command bson.Raw
	upserts := false
	for rest := m[header+flags:]; len(rest) > 4; { // what is less is a checksum
		kind, section := rest[0], rest[1:][:binary.LittleEndian.Uint32(rest[1:])]
		rest = rest[1+len(section):]
		if kind == 0 {
			command = section
			continue
		}
		_, documents, _ := bytes.Cut(section[4:], []byte{0}) // after the list's name
		for len(documents) > 0 {
			d := bson.Raw(documents[:binary.LittleEndian.Uint32(documents)])
			documents = documents[len(d):]
			upserts = upserts || isTrue(d, "upsert")
		}
	}
	r.add(function, command, upserts)
}

func isTrue(d bson.Raw, key string) bool {
	v, err := d.LookupErr(key)
	return err == nil && v.Type == bson.TypeBoolean && v.Boolean()
}

// actions are what a command asks for: https://www.mongodb.com/docs/manual/reference/privilege-actions/
var actions = map[string][]string{"find": {"find"}, "aggregate": {"find"}, "insert": {"insert"},
	"update": {"find", "update"}, "findAndModify": {"find", "update"}, "delete": {"find", "remove"},
	"createIndexes": {"createIndex"},
	// Whoever has logged in may do these.
	"hello": nil, "ismaster": nil, "isMaster": nil, "ping": nil, "endSessions": nil, "getMore": nil, "killCursors": nil}

func (r *rights) add(function string, command bson.Raw, upserts bool) {
	elements, err := command.Elements()
	if err != nil || len(elements) == 0 {
		return
	}
	name := elements[0].Key()
	collection, _ := elements[0].Value().StringValueOK() // a command about the database has none
	db, _ := command.Lookup("$db").StringValueOK()
	of, known := actions[name]
	if !known {
		of = []string{name}
	}
	if upserts || isTrue(command, "upsert") {
		of = append(slices.Clip(of), "insert")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.used[function] == nil {
		r.used[function] = map[string]bool{}
	}
	for _, action := range of {
		r.used[function][r.names[db]+"."+collection+" "+action] = true
	}
}

// check holds what was done to the roles that config/stores gives.
func (r *rights) check(t *testing.T) {
	t.Helper()
	given := roles(t)
	r.mu.Lock()
	defer r.mu.Unlock()
	for function, used := range r.used {
		for _, right := range slices.Sorted(maps.Keys(used)) {
			where, action, _ := strings.Cut(right, " ")
			db, _, _ := strings.Cut(where, ".")
			may := strings.Fields(given[function][where] + " " + given[function][db])
			if !slices.Contains(may, action) {
				t.Errorf("%s needs %s, which its user in config/stores may not", function, right)
			}
		}
	}
}

// roles are those of config/stores/mongodb.yaml: actions by function and collection, or database.
func roles(t *testing.T) (of map[string]map[string]string) {
	t.Helper()
	text, err := os.ReadFile("../../config/stores/mongodb.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var m struct {
			Data map[string]string `json:"data"`
		}
		if err := yaml.Unmarshal(document, &m); err != nil {
			t.Fatal(err)
		}
		if roles, ok := m.Data["roles.json"]; ok {
			if err := json.Unmarshal([]byte(roles), &of); err != nil {
				t.Fatal(err)
			}
			return of
		}
	}
	t.Fatal("config/stores/mongodb.yaml has no roles.json")
	return nil
}
