package api

import (
	_ "embed" // the API documents
	"encoding/json"
	"html/template"
	"io/fs"
	"mime"
	"path"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"github.com/hark-push/hark/gateway/api/field"
	"github.com/hark-push/hark/gateway/api/httpbody"
	"github.com/hark-push/hark/gateway/api/problem"
	"github.com/hark-push/hark/gateway/auth"
)

// OpenAPI and AsyncAPI are the documents that describe this package's interface.
var (
	//go:embed openapi.yaml
	OpenAPI []byte
	//go:embed asyncapi.yaml
	AsyncAPI []byte
)

func (a *API) openAPI(c *fiber.Ctx) error {
	return sendYAML(c, OpenAPI)
}

func (a *API) asyncAPI(c *fiber.Ctx) error {
	return sendYAML(c, AsyncAPI)
}

// sendYAML sends a document as what it is, and as text to a browser that would show it: YAML it
// saves to a file instead.
func sendYAML(c *fiber.Ctx, document []byte) error {
	const yaml, text = "application/yaml", "text/plain"
	kind := yaml
	switch field.Accepted(c.Request().Header.PeekAll(fiber.HeaderAccept), []string{yaml, text, "text/html"}) {
	case text, "text/html":
		kind = text + "; charset=utf-8"
	}
	c.Vary(fiber.HeaderAccept)
	c.Set(fiber.HeaderContentType, kind)
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderCacheControl, "no-cache") // it is that of this version
	return c.Send(document)
}

// live answers whether the process runs.
func (a *API) live(c *fiber.Ctx) error {
	return httpbody.SendJSON(c, fiber.StatusOK, []byte(`{"status":"ok"}`))
}

// healthy is ready for who wants a word: balancers and probes that look for one.
func (a *API) healthy(c *fiber.Ctx) error {
	status, word := fiber.StatusOK, "Healthy"
	if a.unready() != nil {
		status, word = fiber.StatusServiceUnavailable, "Unhealthy"
		c.Set(fiber.HeaderRetryAfter, "5")
	}
	c.Set(fiber.HeaderContentType, "text/plain; charset=utf-8")
	return c.Status(status).SendString(word)
}

// pool answers what the processors of this process do.
func (a *API) pool(c *fiber.Ctx, _ auth.Caller) error {
	var figures any = struct{}{}
	if a.Pool != nil {
		figures = a.Pool()
	}
	body, err := json.Marshal(figures)
	if err != nil {
		return err
	}
	return httpbody.SendJSON(c, fiber.StatusOK, body)
}

// ready answers whether the node should get calls: not while it drains, and not while the store or
// its notifications do not work. That routes have no processor is told, and is no reason: what is
// submitted there waits.
func (a *API) ready(c *fiber.Ctx) error {
	if err := a.unready(); err != nil {
		return err
	}
	health := struct {
		Status   string   `json:"status"`
		Unserved []string `json:"routesWithoutProcessor,omitempty"`
		Keys     string   `json:"keys,omitempty"`
	}{Status: "ready"}
	if t := a.Guard.Trouble(); t != nil {
		health.Keys = t.Detail()
	}
	if a.Unserved != nil {
		health.Unserved = a.Unserved(a.Routes...)
	}
	body, err := json.Marshal(health)
	if err != nil {
		return err
	}
	return httpbody.SendJSON(c, fiber.StatusOK, body)
}

// unready returns why the node should get no calls, nil if it should.
func (a *API) unready() error {
	switch {
	case a.ctx.Err() != nil:
		return &problem.Details{Kind: problem.Unavailable, Detail: "The node is shutting down.", RetryAfter: 5}
	case a.Ready != nil:
		return a.Ready(a.storeContext())
	}
	return nil
}

func (a *API) metrics(c *fiber.Ctx) error {
	httpbody.Forget(c)
	fasthttpadaptor.NewFastHTTPHandler(a.Metrics)(c.Context())
	return nil
}

var problemTemplate = template.Must(template.New("problem").Parse(`<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{{.Title}} – Hark</title>
<style>body{font:1.1rem/1.6 system-ui,sans-serif;max-width:40rem;margin:10vh auto;padding:0 1rem;color-scheme:light dark}code{font-size:.9em}</style>
<h1>{{.Title}}</h1><p><code>/problems/{{.Name}}</code> · HTTP status {{.Status}}</p><p>{{.Explain}}</p></html>
`))

// problemPage explains a problem type to a person who followed its URI.
func (a *API) problemPage(c *fiber.Ctx) error {
	for _, k := range problem.All {
		if k.Name == c.Params("name") {
			c.Set(fiber.HeaderContentType, "text/html; charset=utf-8")
			c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'none'; style-src 'unsafe-inline'")
			return problemTemplate.Execute(c, k)
		}
	}
	return fiber.ErrNotFound
}

// serveDemo serves the files of the page. They are few and fixed, so each has its own
// route and unknown paths stay problems.
func (a *API) serveDemo() {
	_ = fs.WalkDir(a.Demo, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		at := "/" + name
		if name == "index.html" {
			at = "/"
		}
		content, err := fs.ReadFile(a.Demo, name)
		if err != nil {
			return err
		}
		a.app.Get(at, func(c *fiber.Ctx) error {
			c.Set(fiber.HeaderContentType, mime.TypeByExtension(path.Ext(name)))
			c.Set(fiber.HeaderCacheControl, "no-cache")
			c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
			c.Set("Referrer-Policy", "no-referrer")
			c.Set(fiber.HeaderContentSecurityPolicy, "default-src 'self'; img-src 'self' blob: data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'")
			return c.Send(content)
		})
		return nil
	})
}
