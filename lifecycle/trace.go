package lifecycle

// The header in which a request keeps its trace context, as the submission named it.
const headerTraceparent = "Traceparent"

// Traceparent returns the trace context of the call that submitted r (W3C Trace Context, section
// 3.2), "" if it had none that is valid.
func (r *Request) Traceparent() string {
	if r.Headers == nil {
		return ""
	}
	if t := r.Headers[headerTraceparent]; ValidTraceparent(t) {
		return t
	}
	return ""
}

// traceparentLen is that of version 00, to which later versions may only append.
const traceparentLen = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")

// ValidTraceparent reports whether t is a trace context of version 00, which needs no escaping in
// JSON.
func ValidTraceparent(t string) bool {
	if len(t) != traceparentLen || t[:3] != "00-" || t[35] != '-' || t[52] != '-' {
		return false
	}
	return hexadecimal(t[3:35]) && hexadecimal(t[36:52]) && hexadecimal(t[53:]) &&
		t[3:35] != "00000000000000000000000000000000" && t[36:52] != "0000000000000000"
}

func hexadecimal(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
