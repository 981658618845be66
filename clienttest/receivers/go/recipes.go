package main

import (
	"encoding/json"
	"io"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/labstack/echo/v4"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	svix "github.com/svix/svix-webhooks/go"

	"github.com/hark-push/hark/webhook"
)

// receivers are the recipes of docs/webhooks.md, which has every word between the marks, and the
// frameworks' own ways.
func receivers(secret string, key webhook.Key, note func(name string) events) map[string]http.Handler {
	gin.SetMode(gin.ReleaseMode)
	return map[string]http.Handler{
		"net/http":         netHTTP(key, note("net_http").verified),
		"gin":              ginRecipe(key, note("gin").verified),
		"echo":             echoRecipe(key, note("echo").verified),
		"gin ShouldBind":   ginBinds(note("gin ShouldBind"), func(c *gin.Context, event *header) error { return c.ShouldBind(event) }),
		"gin JSON":         ginBinds(note("gin JSON"), func(c *gin.Context, event *header) error { return c.ShouldBindJSON(event) }),
		"gin body":         ginKeepsBody(key, note("gin body")),
		"echo Bind":        echoBinds(note("echo Bind")),
		"standardwebhooks": verifiesWith(note("standardwebhooks"), must(standardwebhooks.NewWebhook(secret)).Verify),
		"svix":             verifiesWith(note("svix"), must(svix.NewWebhook(secret)).Verify),
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func netHTTP(key webhook.Key, handle func(event []byte) error) http.Handler {
	mux := http.NewServeMux()
	// recipe: net/http
	mux.HandleFunc("POST /hooks", func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
		if err != nil || webhook.Verify(r.Header, body, time.Now(), key) != nil {
			http.Error(w, "not verified", http.StatusBadRequest)
		} else if err := handle(body); err != nil {
			http.Error(w, "not handled", http.StatusInternalServerError)
		} else {
			w.WriteHeader(http.StatusNoContent)
		}
	})
	// end
	return mux
}

func ginRecipe(key webhook.Key, handle func(event []byte) error) http.Handler {
	router := gin.New()
	// recipe: gin
	router.POST("/hooks", func(c *gin.Context) {
		body, err := c.GetRawData() // before any Bind
		if err != nil || webhook.Verify(c.Request.Header, body, time.Now(), key) != nil {
			c.AbortWithStatus(http.StatusBadRequest)
		} else if err := handle(body); err != nil {
			c.AbortWithStatus(http.StatusInternalServerError)
		} else {
			c.Status(http.StatusNoContent)
		}
	})
	// end
	return router
}

func echoRecipe(key webhook.Key, handle func(event []byte) error) http.Handler {
	server := echo.New()
	// recipe: echo
	server.POST("/hooks", func(c echo.Context) error {
		body, err := io.ReadAll(c.Request().Body) // instead of Bind
		if err != nil || webhook.Verify(c.Request().Header, body, time.Now(), key) != nil {
			return echo.ErrBadRequest
		}
		if err := handle(body); err != nil {
			return err
		}
		return c.NoContent(http.StatusNoContent)
	})
	// end
	return server
}

// header is what a receiver that does not verify reads of an event.
type header struct {
	ID   string `json:"id"`
	Type string `json:"type"`
}

// ginBinds takes the event that is bound if it is one that it wants, as handlers do.
func ginBinds(note events, bind func(*gin.Context, *header) error) http.Handler {
	router := gin.New()
	router.POST("/hooks", func(c *gin.Context) {
		var event header
		if err := bind(c, &event); err != nil {
			c.AbortWithStatus(http.StatusBadRequest)
			return
		}
		if event.Type == "request.succeeded" {
			if err := note.read(event); err != nil {
				c.AbortWithStatus(http.StatusInternalServerError)
				return
			}
		}
		c.Status(http.StatusOK)
	})
	return router
}

// ginKeepsBody binds with what keeps the body, and verifies that.
func ginKeepsBody(key webhook.Key, note events) http.Handler {
	router := gin.New()
	router.POST("/hooks", func(c *gin.Context) {
		var event header
		err := c.ShouldBindBodyWithJSON(&event)
		body, _ := c.Get(gin.BodyBytesKey)
		text, _ := body.([]byte)
		switch {
		case err != nil || webhook.Verify(c.Request.Header, text, time.Now(), key) != nil:
			c.AbortWithStatus(http.StatusBadRequest)
		case note.verified(text) != nil:
			c.AbortWithStatus(http.StatusInternalServerError)
		default:
			c.Status(http.StatusOK)
		}
	})
	return router
}

func echoBinds(note events) http.Handler {
	server := echo.New()
	server.POST("/hooks", func(c echo.Context) error {
		var event header
		if err := c.Bind(&event); err != nil {
			return err
		}
		if err := note.read(event); err != nil {
			return err
		}
		return c.NoContent(http.StatusOK)
	})
	return server
}

// verifiesWith is net/http with the verifier of another library.
func verifiesWith(note events, verify func([]byte, http.Header) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil || verify(body, r.Header) != nil || !json.Valid(body):
			w.WriteHeader(http.StatusBadRequest)
		case note.verified(body) != nil:
			w.WriteHeader(http.StatusInternalServerError)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
}
