package webhook_test

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standard "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/hark-push/hark/webhook"
)

func key(t testing.TB, text string) webhook.Key {
	t.Helper()
	k, err := webhook.ParseKey(text)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func headers(id string, at time.Time, signature string) http.Header {
	h := make(http.Header)
	h.Set("webhook-id", id)
	h.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	h.Set("webhook-signature", signature)
	return h
}

// The vectors that the specification's own libraries are held to.
const (
	vectorID     = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorBody   = `{"test": 2432232314}`
	vectorSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	vectorV1     = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	vectorKey    = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
	vectorPublic = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
	vectorV1a    = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
)

var vectorAt = time.Unix(1614265330, 0)

func TestVectors(t *testing.T) {
	secret, private := key(t, vectorSecret), key(t, vectorKey)
	got, err := webhook.Sign(vectorID, vectorAt, []byte(vectorBody), secret, private)
	if want := vectorV1 + " " + vectorV1a; err != nil || got != want {
		t.Errorf("signed %q, %v; want %q", got, err, want)
	}
	if got := private.Public().String(); got != vectorPublic {
		t.Errorf("public key %s, want %s", got, vectorPublic)
	}
	for _, k := range []webhook.Key{secret, private, key(t, vectorPublic)} {
		if err := webhook.Verify(headers(vectorID, vectorAt, got), []byte(vectorBody), vectorAt, k); err != nil {
			t.Error(err)
		}
	}
}

// TestReferenceLibrary: each accepts what the other has signed, and the same changes are refused.
func TestReferenceLibrary(t *testing.T) {
	secret := webhook.NewSecret()
	reference, err := standard.NewWebhook(secret.String())
	if err != nil {
		t.Fatal(err)
	}
	body, now := []byte(`{"a":"ü"}`), time.Now()
	ours, err := webhook.Sign("m_1", now, body, secret)
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := reference.Sign("m_1", now, body)
	if err != nil {
		t.Fatal(err)
	}
	if ours != theirs {
		t.Errorf("ours %s, theirs %s", ours, theirs)
	}
	for name, h := range map[string]struct {
		header http.Header
		body   []byte
		ok     bool
	}{
		"right":         {headers("m_1", now, ours), body, true},
		"changed body":  {headers("m_1", now, ours), []byte(`{"a":"u"}`), false},
		"other id":      {headers("m_2", now, ours), body, false},
		"other time":    {headers("m_1", now.Add(2*time.Second), ours), body, false},
		"old":           {headers("m_1", now.Add(-6*time.Minute), sign(t, "m_1", now.Add(-6*time.Minute), body, secret)), body, false},
		"future":        {headers("m_1", now.Add(6*time.Minute), sign(t, "m_1", now.Add(6*time.Minute), body, secret)), body, false},
		"other key":     {headers("m_1", now, sign(t, "m_1", now, body, webhook.NewSecret())), body, false},
		"rotated":       {headers("m_1", now, sign(t, "m_1", now, body, webhook.NewSecret(), secret)), body, true},
		"none":          {headers("m_1", now, ""), body, false},
		"other version": {headers("m_1", now, strings.Replace(ours, "v1,", "v9,", 1)), body, false},
	} {
		err1, err2 := webhook.Verify(h.header, h.body, now, secret), reference.Verify(h.body, h.header)
		if (err1 == nil) != h.ok || (err2 == nil) != h.ok {
			t.Errorf("%s: ours %v, theirs %v, want ok=%v", name, err1, err2, h.ok)
		}
	}
}

func sign(t testing.TB, id string, at time.Time, body []byte, keys ...webhook.Key) string {
	t.Helper()
	s, err := webhook.Sign(id, at, body, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestVerifySaysWhy(t *testing.T) {
	secret, now := webhook.NewSecret(), time.Now()
	good := sign(t, "m", now, nil, secret)
	for name, c := range map[string]struct {
		h    http.Header
		want error
	}{
		"no headers":      {http.Header{}, webhook.ErrHeaders},
		"id with a dot":   {headers("m.1", now, good), webhook.ErrHeaders},
		"timestamp +1":    {withTime(headers("m", now, good), "+1"), webhook.ErrHeaders},
		"timestamp words": {withTime(headers("m", now, good), "now"), webhook.ErrHeaders},
		"old":             {headers("m", now.Add(-time.Hour), good), webhook.ErrTooOld},
		"new":             {headers("m", now.Add(time.Hour), good), webhook.ErrTooNew},
		"not base64":      {headers("m", now, "v1,*** v1a,***"), webhook.ErrSignature},
		"other spelling":  {headers("m", now, otherSpelling(t, good)), webhook.ErrSignature},
		"as v1a":          {headers("m", now, strings.Replace(good, "v1,", "v1a,", 1)), webhook.ErrSignature},
	} {
		if err := webhook.Verify(c.h, nil, now, secret); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := webhook.Verify(headers("m", now, good), nil, now); !errors.Is(err, webhook.ErrSignature) {
		t.Errorf("without keys: %v", err)
	}
	if err := webhook.Verify(headers("m", now, good), nil, now, webhook.Key{}); !errors.Is(err, webhook.ErrSignature) {
		t.Errorf("with the zero key: %v", err)
	}
}

// otherSpelling returns a v1 signature with one of the two bits set that base64 has to spare
// at the end of 32 bytes: a lax decoder reads the same bytes from it.
func otherSpelling(t *testing.T, v1 string) string {
	t.Helper()
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	last := len(v1) - 2 // before the padding
	i := strings.IndexByte(digits, v1[last])
	if v1[last+1] != '=' || i < 0 || i%4 != 0 {
		t.Fatalf("%s does not end in two spare bits", v1)
	}
	return v1[:last] + digits[i+1:i+2] + "="
}

func withTime(h http.Header, v string) http.Header {
	h.Set("webhook-timestamp", v)
	return h
}

func TestKeys(t *testing.T) {
	for _, k := range []webhook.Key{webhook.NewSecret(), webhook.NewPrivateKey(), webhook.NewPrivateKey().Public()} {
		if got := key(t, k.String()).String(); got != k.String() {
			t.Errorf("%s came back as %s", k, got)
		}
	}
	for _, bad := range []string{
		"", "whsec_", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_AAAA", "whsec_***", "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
		"whpk_AAAA", vectorKey[:len(vectorKey)-6] + "AAAA==", "whsec_" + strings.Repeat("A", 4*22),
	} {
		if _, err := webhook.ParseKey(bad); !errors.Is(err, webhook.ErrKey) || bad != "" && len(bad) > 10 && strings.Contains(err.Error(), bad[6:]) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := webhook.Sign("m", time.Now(), nil, webhook.NewPrivateKey().Public()); !errors.Is(err, webhook.ErrKey) {
		t.Errorf("signed with a public key: %v", err)
	}
	for _, id := range []string{"", "a.b"} {
		if _, err := webhook.Sign(id, time.Now(), nil, webhook.NewSecret()); err == nil {
			t.Errorf("signed with id %q", id)
		}
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(vectorID, "1614265330", vectorV1+" "+vectorV1a, []byte(vectorBody))
	f.Add(vectorID, "1614265330", vectorV1[:len(vectorV1)-2]+"F=", []byte(vectorBody))
	f.Add("", "", "", []byte(nil))
	secret, err := webhook.ParseKey(vectorSecret)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, id, timestamp, signature string, body []byte) {
		h := http.Header{"Webhook-Id": {id}, "Webhook-Timestamp": {timestamp}, "Webhook-Signature": {signature}}
		if webhook.Verify(h, body, vectorAt, secret) == nil {
			seconds, _ := strconv.ParseInt(timestamp, 10, 64)
			again := sign(t, id, time.Unix(seconds, 0), body, secret)
			if !strings.Contains(signature, again) {
				t.Errorf("accepted %q over %q, which is %q", signature, body, again)
			}
		}
	})
}

func FuzzParseKey(f *testing.F) {
	for _, s := range []string{vectorSecret, vectorKey, vectorPublic, "whsec_"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		k, err := webhook.ParseKey(text)
		if err != nil {
			return
		}
		again, err := webhook.ParseKey(k.String())
		if err != nil || !bytes.Equal([]byte(again.String()), []byte(k.String())) {
			t.Errorf("%q: %v", text, err)
		}
	})
}
