"""Speaks as the old system's notification service does: a message of the queue mp3 becomes a mail."""
import json
import os
import smtplib
from email.message import EmailMessage

from serve import consume


def notify(_, body):
    message = json.loads(body)
    mail = EmailMessage()
    mail.set_content("mp3 file_id: %s is now ready!" % message["mp3_fid"])
    mail["Subject"] = "MP3 Download"
    mail["From"] = "old@email.com"
    mail["To"] = message["username"]
    with smtplib.SMTP(os.environ["SMTP_HOST"], int(os.environ["SMTP_PORT"])) as session:
        session.send_message(mail)


consume(os.environ["MP3_QUEUE"], notify)
