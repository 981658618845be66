package misuse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// Operation is a method of a path, as the document has it.
type Operation struct {
	ID       string
	Method   string
	Path     string // with parameters in braces
	Target   string // with those of what is there
	Statuses []int

	parameters []*openapi3.Parameter
	body       *openapi3.Schema // of JSON; nil if it takes none
	required   bool             // a body
	anyBody    bool             // it takes any media type
	example    map[string]json.RawMessage
	text       []byte // the example as it is sent
}

// There names what is on the gateway, so that a call of which a part is wrong is right but for
// that.
type There struct {
	Request string // the id of one that is pending
	Ended   string // of one that has a result
	Batch   string
	Webhook string // the id of an endpoint
	Message string // the id of a delivery to it
	URL     string // one that endpoints may have
	Stream  string // the path of one of JSON messages
}

// parameter returns what a parameter of a path is.
func (t There) parameter(path, name string) (string, error) {
	switch name {
	case "id":
		switch {
		case strings.HasPrefix(path, "/v1/batches/"):
			return t.Batch, nil
		case strings.HasSuffix(path, "/result") && strings.HasPrefix(path, "/v1/requests/"):
			return t.Ended, nil
		}
		return t.Request, nil
	case "webhook":
		return t.Webhook, nil
	case "message":
		return t.Message, nil
	case "topic":
		return "t", nil
	case "route":
		return "default", nil
	case "path":
		if strings.HasPrefix(path, streams) {
			return t.Stream, nil
		}
		return "x", nil
	case "name":
		return "forbidden", nil
	}
	return "", fmt.Errorf("%s: nobody has said what {%s} is: say it in There", path, name)
}

// Operations returns all that the document has, in the order of their paths.
func Operations(document []byte, there There) ([]*Operation, error) {
	doc, err := openapi3.NewLoader().LoadFromData(document)
	if err != nil {
		return nil, err
	}
	var all []*Operation
	paths := doc.Paths.Map()
	for _, path := range slices.Sorted(maps.Keys(paths)) {
		item := paths[path]
		methods := item.Operations()
		for _, method := range slices.Sorted(maps.Keys(methods)) {
			op, err := operation(method, path, item, methods[method], there)
			if err != nil {
				return nil, err
			}
			all = append(all, op)
		}
	}
	return all, nil
}

func operation(method, path string, item *openapi3.PathItem, from *openapi3.Operation, there There) (*Operation, error) {
	op := &Operation{ID: from.OperationID, Method: method, Path: path}
	for status := range from.Responses.Map() {
		n, err := strconv.Atoi(status)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", op.ID, err)
		}
		op.Statuses = append(op.Statuses, n)
	}
	slices.Sort(op.Statuses)
	for _, p := range slices.Concat(item.Parameters, from.Parameters) {
		op.parameters = append(op.parameters, p.Value)
	}
	var err error
	if op.Target, err = op.At(there); err != nil {
		return nil, err
	}
	if from.RequestBody == nil {
		return op, nil
	}
	op.required = from.RequestBody.Value.Required
	content := from.RequestBody.Value.Content
	op.anyBody = content["*/*"] != nil
	media := content["application/json"]
	if media == nil {
		return op, nil
	}
	op.body = media.Schema.Value
	if len(media.Examples) == 0 {
		return nil, fmt.Errorf("%s: its body has no example", op.ID)
	}
	name := slices.Min(slices.Collect(maps.Keys(media.Examples)))
	text, err := json.Marshal(media.Examples[name].Value.Value)
	if err != nil {
		return nil, err
	}
	op.text = bytes.ReplaceAll(text, []byte("https://example.org/hooks/hark"), []byte(there.URL))
	if err := json.Unmarshal(op.text, &op.example); err != nil {
		return nil, fmt.Errorf("%s: %w", op.ID, err)
	}
	return op, nil
}

// At returns the target of a call of what is there.
func (o *Operation) At(there There) (string, error) {
	target := o.Path
	for _, p := range o.parameters {
		if p.In != openapi3.ParameterInPath {
			continue
		}
		value, err := there.parameter(o.Path, p.Name)
		if err != nil {
			return "", err
		}
		target = strings.ReplaceAll(target, "{"+p.Name+"}", value)
	}
	if p := o.parameter("since"); p != nil && p.Required { // which has to be there
		target += "?since=2026-01-01T00:00:00Z"
	}
	return target, nil
}

// Body returns the example of a body that is JSON, nil if it takes none.
func (o *Operation) Body() []byte { return o.text }

// parameter returns one of the query, nil if it has none of that name.
func (o *Operation) parameter(name string) *openapi3.Parameter {
	for _, p := range o.parameters {
		if p.In == openapi3.ParameterInQuery && p.Name == name {
			return p
		}
	}
	return nil
}

// query returns the parameters of the query.
func (o *Operation) query() (all []*openapi3.Parameter) {
	for _, p := range o.parameters {
		if p.In == openapi3.ParameterInQuery {
			all = append(all, p)
		}
	}
	return all
}

// ofAPI reports whether it is of the API, which takes no option that it does not know.
func (o *Operation) ofAPI() bool {
	return strings.HasPrefix(o.Path, "/v1/") && !o.anyPath()
}

// streams is what stands in front of the paths of streams.
const streams = "/v1/stream/"

// anyPath reports whether the rest of its path is the caller's, and its query takes any option.
func (o *Operation) anyPath() bool {
	return strings.HasPrefix(o.Path, "/v1/call/") || strings.HasPrefix(o.Path, streams)
}

// with returns the target with more of a query.
func (o *Operation) with(query string) string {
	if strings.Contains(o.Target, "?") {
		return o.Target + "&" + query
	}
	return o.Target + "?" + query
}

// member returns the body of the example with a member that has another value, or none if that is
// nil.
func (o *Operation) member(name string, value json.RawMessage) []byte {
	body := maps.Clone(o.example)
	if body == nil {
		body = make(map[string]json.RawMessage)
	}
	body[name] = value
	if value == nil {
		delete(body, name)
	}
	return object(body)
}

// object writes members as they are, also those that are no JSON.
func object(members map[string]json.RawMessage) []byte {
	body := []byte("{")
	for i, name := range slices.Sorted(maps.Keys(members)) {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(append(append(body, text(name)...), ':'), members[name]...)
	}
	return append(body, '}')
}
