package process

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSecret bounds a file that holds a secret, in bytes.
const maxSecret = 64 << 10

// ReadSecret returns the content of a file without the white space around it. A file
// that users other than its owner may read is refused, with two exceptions for
// containers: a file on a read-only mount, which is how Docker and Kubernetes provide
// secrets, and a file of another user, such as root, that only its group may read.
func ReadSecret(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if info.Size() > maxSecret {
		return "", fmt.Errorf("read secret: %s is larger than %d bytes", path, maxSecret)
	}
	if exposed(file, info) {
		return "", fmt.Errorf("read secret: other users may read %s (mode %04o): chmod 600 %s", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(file, maxSecret+1))
	if err != nil {
		return "", fmt.Errorf("read secret: %w", err)
	}
	if len(data) > maxSecret {
		return "", fmt.Errorf("read secret: %s is larger than %d bytes", path, maxSecret)
	}
	return strings.TrimSpace(string(data)), nil
}
