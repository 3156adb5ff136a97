"""Uses the client that openapi-python-client generates: list_tasks, a task to its end, an answer to a permission."""

import os

from moongate_client import AuthenticatedClient
from moongate_client.api.permissions import answer_permission
from moongate_client.api.tasks import create_task, list_tasks, show_task
from moongate_client.models import Given, NewTask, PermissionDecision, RunStatus

client = AuthenticatedClient(base_url=os.environ["MOONGATE_URL"], token=os.environ["MOONGATE_TOKEN"])
made = create_task.sync(client=client, body=NewTask(input_="Hello")).task
while (task := show_task.sync(made.id, client=client).task).status not in ("succeeded", "failed"):
    pass
listed = list_tasks.sync(client=client, status=RunStatus.SUCCEEDED).tasks
refused = answer_permission.sync_detailed("none", "none", client=client, body=Given(answer=PermissionDecision.DENY))
print(task.result, [found.id for found in listed] == [made.id], int(refused.status_code))
