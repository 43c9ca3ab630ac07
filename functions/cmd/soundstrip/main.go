// Command soundstrip is all of Soundstrip in one process: the laptop's way.
//
//	soundstrip                               serves on http://127.0.0.1:8080, with its data in .soundstrip
//	soundstrip convert in.mp4                makes in.mp3, with no server; -h tells the options
//	soundstrip send in.mp4 …                 has a server make in.mp3; -h tells the options
//	soundstrip usage                         shows what is used at the server, and when files end there
//	soundstrip login|logout                  keeps a token for send, or forgets it
//	soundstrip user …                        manages the users of that folder, or of the MySQL that MYSQL_HOST names
//	soundstrip adopt …                       gives MP3s of the old system to their owners
//	soundstrip dead …                        lists, shows, replays and drops events that could not be delivered
//	soundstrip backup FOLDER                 copies the data folder, also while it is served
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/sethvargo/go-envconfig"

	"github.com/soundstrip/soundstrip/eventing/serve"
)

func main() { serve.Main(run) }

func run(ctx context.Context, env envconfig.Lookuper) error {
	switch args := os.Args[1:]; {
	case len(args) == 0, args[0] == "serve" && len(args) == 1:
		return runServer(ctx, env)
	case args[0] == "convert":
		return runConvert(ctx, env, args[1:])
	case args[0] == "send":
		return runSend(ctx, env, args[1:])
	case args[0] == "usage":
		return runUsage(ctx, env, args[1:])
	case args[0] == "login":
		return runLogin(ctx, env, args[1:])
	case args[0] == "logout":
		return runLogout(env, args[1:])
	case args[0] == "user":
		return runUser(ctx, env, args[1:])
	case args[0] == "adopt":
		return runAdopt(ctx, env, args[1:])
	case args[0] == "dead":
		return runDead(ctx, env, args[1:], os.Stdout)
	case args[0] == "backup":
		return runBackup(ctx, env, args[1:], os.Stdout)
	default:
		return fmt.Errorf("soundstrip %q: the commands are serve (or none), convert, send, usage, login, logout, "+
			"user, adopt, dead and backup", args)
	}
}
