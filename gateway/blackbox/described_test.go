package blackbox_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/hark-push/hark/gateway/api"
)

// description is what openapi.yaml says of answers. Each schema is compiled when the first answer
// needs it, and kept: openapi3filter compiles all of them for each answer, which was more than half
// of what these tests took.
type description struct {
	routers.Router

	mu       sync.Mutex
	compiler *jsonschema.Compiler
	schemas  map[string]*jsonschema.Schema // by the place in the document
}

// described is the API description that the server serves.
var described = sync.OnceValues(func() (*description, error) {
	doc, err := openapi3.NewLoader().LoadFromData(api.OpenAPI)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	text, err := doc.MarshalJSON()
	if err != nil {
		return nil, err
	}
	whole, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	d := &description{compiler: jsonschema.NewCompiler(), schemas: make(map[string]*jsonschema.Schema)}
	d.compiler.DefaultDraft(jsonschema.Draft2020)
	d.compiler.AssertFormat()
	if err := d.compiler.AddResource(describedAt, whole); err != nil {
		return nil, err
	}
	d.Router, err = gorillamux.NewRouter(doc)
	return d, err
})

const describedAt = "https://hark.example/openapi.json"

// holds returns in what an answer is not as it is described.
func (d *description) holds(route *routers.Route, status int, header http.Header, body []byte) error {
	responses := route.Operation.Responses
	at := fmt.Sprint("#/paths/", pointer(route.Path), "/", strings.ToLower(route.Method), "/responses/", status)
	response := responses.Status(status)
	if response == nil {
		if response = responses.Default(); response == nil {
			return fmt.Errorf("status %d is not described", status)
		}
		at = strings.TrimSuffix(at, strconv.Itoa(status)) + "default"
	}
	if response.Ref != "" {
		at = response.Ref
	}
	for name, h := range response.Value.Headers {
		values, there := header[http.CanonicalHeaderKey(name)]
		if !there {
			if h.Value.Required {
				return fmt.Errorf("%s is missing", name)
			}
			continue
		}
		where := at + "/headers/" + pointer(name)
		if h.Ref != "" {
			where = h.Ref
		}
		var value any = strings.Join(values, ", ")
		if t := h.Value.Schema.Value.Type; t.Includes("integer") || t.Includes("number") {
			value = json.Number(value.(string))
		}
		if err := d.validate(where+"/schema", value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if len(response.Value.Content) == 0 || route.Method == http.MethodHead {
		return nil
	}
	kind := header.Get("Content-Type")
	media := response.Value.Content.Get(kind)
	if media == nil {
		return fmt.Errorf("Content-Type %q is not described", kind)
	}
	plain, _, err := mime.ParseMediaType(kind)
	if err != nil {
		return err
	}
	if media.Schema == nil || plain != "application/json" && !strings.HasSuffix(plain, "+json") {
		return nil
	}
	// A name may be a range, or have parameters.
	for name, described := range response.Value.Content {
		if described == media {
			at += "/content/" + pointer(name) + "/schema"
			break
		}
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return d.validate(at, value)
}

// validate holds a value against the schema at a place in the document.
func (d *description) validate(at string, value any) error {
	d.mu.Lock()
	schema := d.schemas[at]
	var err error
	if schema == nil {
		if schema, err = d.compiler.Compile(describedAt + at); err == nil {
			d.schemas[at] = schema
		}
	}
	d.mu.Unlock()
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// pointer escapes a part of a JSON Pointer (RFC 6901) in a fragment.
func pointer(part string) string {
	return strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D", "*", "%2A", ";", "%3B", " ", "%20").Replace(part)
}

// TestAnswersAreHeldToTheirDescription: what every answer of these tests goes through finds what is
// not as it is described.
func TestAnswersAreHeldToTheirDescription(t *testing.T) {
	d, err := described()
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodGet, "/health/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	live, _, err := d.FindRoute(r)
	if err != nil {
		t.Fatal(err)
	}
	r.URL.Path = "/v1/requests"
	list, _, err := d.FindRoute(r)
	if err != nil {
		t.Fatal(err)
	}
	kind := func(kind string) http.Header { return http.Header{"Content-Type": {kind}} }
	for _, c := range []struct {
		route  *routers.Route
		status int
		header http.Header
		body   string
		says   string // nothing: it is as described
	}{
		{live, 200, kind("application/json"), `{"status":"ok"}`, ""},
		{list, 200, kind("application/json"), `{"requests":[],"next":null}`, ""},
		{list, 200, kind("application/json; charset=utf-8"), `{"requests":[],"next":null}`, ""},
		{list, 200, kind("application/json"), `{"requests":{}}`, "array"},
		{list, 200, kind("application/json"), `{"requests":[{"id":1}]}`, "/requests/0"},
		{list, 200, kind("application/json"), `{}`, "missing"},
		{list, 200, kind("application/json"), `{"requests":`, "EOF"},
		{list, 200, kind("application/json"), ``, "EOF"},
		{list, 200, kind("text/html"), `<p>`, "not described"},
		{list, 299, kind("application/json"), `{}`, "299"},
		{list, 401, kind("application/problem+json"), `{"type":"/problems/unauthenticated","title":"a","status":401,"detail":"b","instance":"/v1/requests"}`, "WWW-Authenticate"},
		{list, 400, kind("application/problem+json"), `{"type":"/problems/bad-query"}`, "missing"},
	} {
		switch err := d.holds(c.route, c.status, c.header, []byte(c.body)); {
		case err == nil && c.says != "":
			t.Errorf("%d %s is held to be right", c.status, c.body)
		case err != nil && (c.says == "" || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%d %s: %v", c.status, c.body, err)
		}
	}
}
