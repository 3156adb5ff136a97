"""What clients see of each noun: the structs that several routes answer with, and how they are made.

Each noun has a module here; routes say `views.TaskShown`.
"""

from gateway.api.views.agent import AgentShown as AgentShown
from gateway.api.views.agent import render_agent as render_agent
from gateway.api.views.delivery import DeliveryShown as DeliveryShown
from gateway.api.views.delivery import render_delivery as render_delivery
from gateway.api.views.file import FileShown as FileShown
from gateway.api.views.file import render_file as render_file
from gateway.api.views.file import render_files as render_files
from gateway.api.views.fire import FireShown as FireShown
from gateway.api.views.fire import render_fire as render_fire
from gateway.api.views.permission import PermissionShown as PermissionShown
from gateway.api.views.permission import render_permission as render_permission
from gateway.api.views.session import MessageShown as MessageShown
from gateway.api.views.session import SessionShown as SessionShown
from gateway.api.views.session import render_message as render_message
from gateway.api.views.session import render_session as render_session
from gateway.api.views.task import TaskShown as TaskShown
from gateway.api.views.task import WaitShown as WaitShown
from gateway.api.views.task import render_task as render_task
from gateway.api.views.task import result_or_raise as result_or_raise
from gateway.api.views.task import tell_notice as tell_notice
from gateway.api.views.time import render_time as render_time
from gateway.api.views.timeline import GroupShown as GroupShown
from gateway.api.views.timeline import render_group as render_group
from gateway.api.views.usage import BudgetShown as BudgetShown
from gateway.api.views.usage import UsageNumbers as UsageNumbers
from gateway.api.views.usage import UsageShown as UsageShown
from gateway.api.views.usage import render_budget as render_budget
from gateway.api.views.usage import render_usage as render_usage
