package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/soundstrip/soundstrip/functions/internal/container"
)

// standard is what stands for standard input and output.
const standard = "-"

// video is one to convert, and where its MP3 goes.
type video struct{ path, mp3 string }

// String is what the video is called in messages.
func (v video) String() string {
	if v.path == standard {
		return "standard input"
	}
	return v.path
}

// findVideos makes the list of videos of a command line, and counts those in folders that are left out because their
// MP3 is there. MP3s go beside the videos, or to out: a folder, or for a single video the file. mayWrite reports why an
// MP3 cannot have its name.
func findVideos(paths []string, out string, mayWrite func(video) error) (videos []video, left int, err error) {
	folder, single := out, ""
	if stat, err := os.Stat(out); out != "" && (err != nil || !stat.IsDir()) {
		folder, single = "", out
	}
	sources := map[string]string{} // of the MP3s
	add := func(path string, found bool) error {
		v := video{path, single}
		if single == "" {
			v.mp3 = beside(path)
		}
		if folder != "" {
			v.mp3 = filepath.Join(folder, filepath.Base(v.mp3))
		}
		switch other, taken := sources[v.mp3]; {
		case taken && sameFile(other, path):
			return nil
		case taken && single == "":
			return fmt.Errorf("%s and %s would both become %s: convert them one by one, with a name for each", other, path,
				v.mp3)
		}
		if err := mayWrite(v); found && errors.Is(err, fs.ErrExist) {
			left++
			return nil
		} else if err != nil {
			return err
		}
		sources[v.mp3] = path
		videos = append(videos, v)
		return nil
	}
	for _, path := range paths {
		if stat, err := os.Stat(path); err != nil {
			return nil, 0, err
		} else if !stat.IsDir() {
			if err := add(path, false); err != nil {
				return nil, 0, err
			}
			continue
		}
		err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.EqualFold(filepath.Ext(path), ".mp3") || !isMedia(path) {
				return err
			}
			return add(path, true)
		})
		if err != nil {
			return nil, 0, err
		}
	}
	if single != "" && len(videos) > 1 {
		return nil, 0, fmt.Errorf("%s is no folder, and there are %d videos", single, len(videos))
	}
	return videos, left, nil
}

func isMedia(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was only read
	head := make([]byte, container.SniffLen)
	n, _ := io.ReadFull(f, head)
	return container.Sniff(head[:n]) != ""
}

func sameFile(a, b string) bool {
	one, oneErr := os.Stat(a)
	two, twoErr := os.Stat(b)
	return oneErr == nil && twoErr == nil && os.SameFile(one, two)
}

// maxName is the length of a file's name, in bytes, on most file systems.
const maxName = 255

// beside is where the MP3 of a video goes that nobody names. A name that would become too long is cut.
func beside(path string) string {
	const extension = ".mp3"
	dir, name := filepath.Split(path)
	name = strings.TrimSuffix(name, filepath.Ext(name))
	if end := maxName - len(extension); len(name) > end {
		for end > 0 && !utf8.RuneStart(name[end]) {
			end--
		}
		name = name[:end]
	}
	return dir + name + extension
}

// mayWrite reports why the MP3 cannot have the name it is to have, if so. A file that is there is fs.ErrExist, unless
// it is to be replaced.
func mayWrite(v video, replace bool) error {
	if v.mp3 == standard {
		return nil
	}
	there, err := os.Stat(v.mp3)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var source os.FileInfo
	if v.path == standard {
		source, err = os.Stdin.Stat()
	} else {
		source, err = os.Stat(v.path)
	}
	switch {
	case err != nil:
		return err
	case os.SameFile(there, source):
		return fmt.Errorf("%s is the video itself: name another file with -o", v.mp3)
	case !there.Mode().IsRegular():
		return fmt.Errorf("%s is no file: name another with -o", v.mp3)
	case !replace:
		return &existsError{v.mp3}
	}
	return nil
}

// existsError says that an MP3 is there.
type existsError struct{ path string }

func (e *existsError) Error() string {
	return e.path + " is there already: name another file with -o, or replace it with --force"
}

func (*existsError) Is(target error) bool { return target == fs.ErrExist }
