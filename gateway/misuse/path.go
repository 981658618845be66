package misuse

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
)

// names are ids and names in the path that nothing has, or can have.
func (b *builder) names(op *Operation) {
	for _, p := range op.parameters {
		if p.In != openapi3.ParameterInPath || p.Name == "path" {
			continue
		}
		wants := map[string][]Outcome{"id": {noRequest}, "webhook": {noWebhook}, "message": {noWebhook}, "topic": {noChannel}, "route": {notFound}, "name": {notFound}}[p.Name]
		wrong := []string{"unknown"}
		if p.Name == "topic" {
			wrong = nil
		}
		for _, s := range strange {
			if s == "x" && p.Name != "topic" || s != "" && s != "x" && (p.Schema.Value.Pattern == "" || slices.Contains(texts(p.Name, p.Schema.Value), s)) {
				wrong = append(wrong, url.PathEscape(s))
			}
		}
		for _, bad := range notUTF8 { // which cannot be read
			wrong = append(wrong, percent(bad))
		}
		for _, s := range wrong {
			if s == "." || s == ".." || s == "default" {
				continue // these are segments of their own
			}
			b.call(op, "a name in a path", fmt.Sprintf("%s: %.60s", p.Name, s), b.naming(op, p.Name, s), append(op.contentType(), "Accept: application/json"), op.text, "", append(slices.Clone(wants), notFound, malformed)...)
		}
		for _, s := range []string{"%zz", "%", "%4", "a%", "%%31"} {
			b.call(op, "percent-encoding that is none", p.Name+": "+s, b.naming(op, p.Name, s), append(op.contentType(), "Accept: application/json"), op.text, "", append(slices.Clone(wants), notFound, malformed)...)
		}
	}
	if op.anyPath() {
		front := strings.TrimSuffix(b.naming(op, "path", ""), "?")
		for _, s := range []string{"%zz", "%", "a/%4", "a%/b", "%%31"} {
			b.plain(op, "percent-encoding that is none", "path: "+s, front+s, nil, "", malformed)
		}
	}
	if strings.HasPrefix(op.Path, streams) {
		for _, s := range append([]string{"a//b", "/a", "a/", "a/./b", ".", "a/..", "../b", "%2e%2e", "a%2f", "a%00", "a%0ab", "a%7f", strings.Repeat("a", 1025), strings.Repeat("%C3%A9", 513)}, encoded(notUTF8)...) {
			b.plain(op, "a path of a stream", fmt.Sprintf("%.60s", s), streams+s, nil, "", malformed)
		}
	}
}

// encoded are texts with each byte percent-encoded.
func encoded(texts []string) (all []string) {
	for _, t := range texts {
		all = append(all, percent(t))
	}
	return all
}

// naming returns the target with another value of one of the path's parameters.
func (b *builder) naming(op *Operation, name, value string) string {
	target := strings.Replace(op.Path, "{"+name+"}", value, 1)
	for _, other := range op.parameters {
		if value, err := b.There.parameter(op.Path, other.Name); err == nil {
			target = strings.ReplaceAll(target, "{"+other.Name+"}", value)
		}
	}
	if _, query, ok := strings.Cut(op.Target, "?"); ok {
		target += "?" + query
	}
	return target
}

// spellings are paths that are nearly those that there are. A proxy's rules are by the letter, so
// none is taken for another.
// paths are all that there are: the spelling that is wrong for one may be another.
func (b *builder) spellings(op *Operation, paths []string) {
	path, query, asked := strings.Cut(op.Target, "?")
	if asked {
		query = "?" + query
	}
	call := op.anyPath()
	wrong := map[string]string{
		"upper case":                strings.ToUpper(path),
		"one letter in upper case":  strings.Replace(path, path[1:2], strings.ToUpper(path[1:2]), 1),
		"a slash too many in front": "/" + path,
		"a slash too many":          path[:1] + strings.Replace(path[1:], "/", "//", 1),
		"a dot segment":             strings.Replace(path, "/", "/./", 1),
		"two dots":                  "/x/.." + path,
		"an encoded slash":          path[:1] + strings.Replace(path[1:], "/", "%2f", 1),
		"an encoded slash, upper":   path[:1] + strings.Replace(path[1:], "/", "%2F", 1),
		"an encoded slash in front": "%2f" + path[1:],
		"a backslash":               path[:1] + strings.Replace(path[1:], "/", `\`, 1),
		"an encoded dot":            "/%2e" + path,
		"two encoded dots":          "/x/%2e%2e" + path,
		"a parameter":               path[:1] + strings.Replace(path[1:], "/", ";x=1/", 1),
		"a space in front":          "/%20" + path[1:],
		"a zero byte in front":      "/%00" + path[1:],
		"another version":           strings.Replace(path, "/v1/", "/v2/", 1),
		"no version":                strings.Replace(path, "/v1/", "/", 1),
		"twice the version":         strings.Replace(path, "/v1/", "/v1/v1/", 1),
		"something in front":        "/api" + path,
	}
	if !call {
		wrong["a slash at the end"] = path + "/"
		wrong["two slashes at the end"] = path + "//"
		wrong["a dot segment at the end"] = path + "/."
		wrong["two dots at the end"] = path + "/x/.."
		wrong["two encoded dots at the end"] = path + "/x/%2e%2e"
		wrong["an encoded slash at the end"] = path + "%2f"
		wrong["a segment too many"] = path + "/x/y/z"
		wrong["an extension"] = path + ".json"
		wrong["a space at the end"] = path + "%20"
		wrong["a zero byte at the end"] = path + "%00"
		wrong["a parameter at the end"] = path + ";x=1"
		wrong["a question mark, encoded"] = path + "%3f"
		wrong["a fragment, encoded"] = path + "%23x"
		wrong["a letter too many"] = path + "x"
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		target := wrong[name]
		if target == path || !strings.HasPrefix(op.Path, "/v1/") && strings.Contains(name, "version") || op.ends(target) || slices.Contains(paths, target) {
			continue
		}
		// It may be the name of something, which is not there, or which has not this method; or no
		// path at all.
		b.call(op, "a path's spelling", name+": "+target, target+query, append(op.contentType(), "Accept: application/json"), op.text, "", notFound, noRequest, noWebhook, noChannel, noMethod, malformed)
		b.cases[len(b.cases)-1].Op = nil // it is none of that
	}
}

// ends reports whether what a target has at its end may belong to a name there that the gateway
// has not chosen: a topic.
func (o *Operation) ends(target string) bool {
	return strings.HasSuffix(o.Path, "{topic}") && strings.HasPrefix(target, o.Target)
}

// methods are those that a path does not have.
func (b *builder) methods(path string, of []*Operation) {
	var allow []string
	for _, op := range of {
		allow = append(allow, op.Method)
	}
	if slices.Contains(allow, http.MethodGet) {
		allow = append(allow, http.MethodHead)
	}
	target := of[0].Target
	for _, method := range []string{
		"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "LINK", "PURGE", "M-SEARCH", "get", "post", "Get", "FOO", "X", "GETT", "GE", strings.Repeat("A", 100),
	} {
		if slices.Contains(allow, method) {
			continue
		}
		b.raw(nil, "a method", method+" "+path, method, b.head(method, target, []string{"Content-Length: 0"}), false, "", noMethod)
		b.cases[len(b.cases)-1].Allow = allow
	}
}
