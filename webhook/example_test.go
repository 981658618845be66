package webhook_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/hark-push/hark/webhook"
)

// A receiver verifies before it believes anything.
func ExampleVerify() {
	secret, err := webhook.ParseKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		panic(err)
	}
	receive := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, "unreadable", http.StatusBadRequest)
			return
		}
		if err := webhook.Verify(r.Header, body, time.Now(), secret); err != nil {
			http.Error(w, err.Error(), http.StatusUnauthorized)
			return
		}
		fmt.Println("received", string(body))
	}

	body, now := `{"type":"request.succeeded"}`, time.Now()
	for _, text := range []string{body, strings.ToUpper(body)} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(text))
		signature, err := webhook.Sign("order-42_3", now, []byte(body), secret)
		if err != nil {
			panic(err)
		}
		r.Header.Set(webhook.HeaderID, "order-42_3")
		r.Header.Set(webhook.HeaderTimestamp, fmt.Sprint(now.Unix()))
		r.Header.Set(webhook.HeaderSignature, signature)
		answer := httptest.NewRecorder()
		receive(answer, r)
		fmt.Println(answer.Code)
	}
	// Output:
	// received {"type":"request.succeeded"}
	// 200
	// 401
}
